"""Updates that fit in equal CPU seconds, and the forecast of a grid."""

from skd_lab.budgets import Forecast, equal_updates
from skd_lab.grids import Cell, Grid


def test_the_forecast_goes_by_method():
    def done(method, seconds):
        return {"status": "done", "method": method, "seconds": seconds}

    cells_left = [Cell(values={"method": name}) for name in ("skd", "sft", "skd")]
    forecast = Forecast([], workers=1)
    assert forecast.left(cells_left) is None and forecast.words(cells_left) == "3 cells left"
    for row in (done("teacher", 1), done("sft", 10), done("sft", 20), {"status": "failed"}):
        forecast.add(row)
    # of skd nothing is known: as long as a usual training, the teacher's evaluation is none
    assert forecast.left(cells_left) == 15 * 3
    forecast.add(done("skd", 100))
    assert forecast.left(cells_left) == 215
    assert Forecast([done("skd", 100)], workers=2).left(cells_left[:1]) == 50


def test_updates_fit_in_the_seconds_of_the_baseline_and_stay_as_they_were(tmp_path):
    axes = {"method": ["sft", "skd"], "budget": [None, "cpu"], "seed": [0, 1]}
    grid = Grid(blocks=(axes,), fixed={"steps": 50})
    done = {"status": "done", "updates": 50}
    rows = {
        "summaries-sft-100-own-s0": {**done, "cpu_seconds": 10.0},
        "summaries-sft-100-own-s1": {**done, "cpu_seconds": 14.0},
        "summaries-skd-100-own-s0": {**done, "cpu_seconds": 30.0},
    }
    # nothing is known of the baseline yet
    assert equal_updates(grid, {}, tmp_path) == {}
    # 0.24 s an update, 30 s in all
    assert equal_updates(grid, rows, tmp_path) == {"summaries-sft-100-own-cpu": 125}
    rows["summaries-skd-100-own-s1"] = {**done, "cpu_seconds": 300.0}
    assert equal_updates(grid, rows, tmp_path) == {"summaries-sft-100-own-cpu": 125}
    failed = {name: {"status": "failed"} for name in rows}
    assert equal_updates(grid, failed, tmp_path / "other") == {}
