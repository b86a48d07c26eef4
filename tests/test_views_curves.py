"""Curves of training: every point is from the records, every name is inert."""

import json
import re

import matplotlib
import pytest
from fake_runs import STEPS, write_demo

from skd_lab.files import write_json_atomic
from skd_lab.views import plot_training
from skd_lab.views.curves import INK_OF_PAGE, figure_svg


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("runs"))


def test_a_panel_a_metric_and_a_line_a_run(demo):
    runs = [demo.parent / "demo-supervised_kd", demo.parent / "demo-on_policy_kd", demo]
    figure = plot_training(runs, smooth=1)
    loss, rate = figure.axes
    assert [len(loss.lines), len(rate.lines)] == [3, 1]  # only skd measured a replacement rate
    assert list(loss.lines[0].get_xdata()) == list(range(1, STEPS + 1))
    assert list(loss.lines[0].get_ydata()) == [1 / step for step in range(1, STEPS + 1)]
    assert {text.get_text() for text in loss.texts} == {"supervised_kd", "on_policy_kd", "skd"}
    assert len({line.get_color() for line in loss.lines}) == 3
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in loss.lines}) == 3


def test_names_of_close_lines_do_not_overlap(demo):
    runs = [demo.parent / "demo-supervised_kd", demo.parent / "demo-on_policy_kd", demo]
    figure = plot_training(runs, ("loss",))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_smoothing_is_a_centred_mean(demo):
    figure = plot_training(demo, ("loss",), smooth=3)
    strong = figure.axes[0].lines[-1].get_ydata()
    assert strong[1] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_a_long_run_is_drawn_with_as_many_points_as_can_be_seen(tmp_path):
    lines = "".join(json.dumps({"step": n, "loss": n % 2}) + "\n" for n in range(9000))
    write_json_atomic(tmp_path / "run" / "config.json", {})
    (tmp_path / "run" / "steps.jsonl").write_text(lines)
    thin, strong = plot_training(tmp_path / "run", ("loss",)).axes[0].lines
    for line in (thin, strong):
        steps = list(line.get_xdata())
        assert len(steps) == 1500 and (steps[0], steps[-1]) == (0, 8999)
    # the mean is of all steps around it, not of those that are drawn
    assert strong.get_ydata()[700] == pytest.approx(0.5, abs=0.01)


def test_plotting_leaves_no_global_state(demo):
    before = dict(matplotlib.rcParams)
    plot_training(demo)
    assert dict(matplotlib.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_run_folder_with_mathtext_and_markup_in_its_name_is_drawn(tmp_path):
    folder = tmp_path / "a$x_1^{2$<b>"
    write_json_atomic(folder / "config.json", {})
    (folder / "steps.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    figure = plot_training(folder, ("loss",), ink=INK_OF_PAGE)
    svg = figure_svg(figure, 'label "<b>"')
    assert "a$x_1^{2$&lt;b&gt;" in svg and "<b>" not in svg
    assert 'aria-label="label &quot;&lt;b&gt;&quot;"' in svg
    assert "currentColor" in svg and INK_OF_PAGE not in svg
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/)", svg)
