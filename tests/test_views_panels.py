"""The pictures of a report: what they draw and say, and the values they can be walked by."""

import json
import re
from html.parser import HTMLParser

import pytest

from skd_lab.files import append_jsonl, write_json_atomic
from skd_lab.runs import Run
from skd_lab.views.panels import evaluation_panels, phase_shares, training_panels


def write_run(folder, steps, method="skd", evals=()):
    write_json_atomic(folder / "config.json", {"method": method})
    for record in steps:
        append_jsonl(folder / "steps.jsonl", record)
    for record in evals:
        append_jsonl(folder / "eval.jsonl", record)
    return Run(folder)


def a_step(n, **more):
    seconds = {"draft": 1.0, "verify": 2.0, "score": 0.0, "update": 1.0}
    return {
        "step": n,
        "loss": 2.0 / n,
        "replacement_rate": 0.2 / n,
        "acceptance_rate": 1 - 0.2 / n,
        "student_entropy": 0.5,
        "teacher_nll": 0.4,
        "grad_norm": 1.0,
        "lr": 1e-5 * n,
        "tokens_per_second": 100.0,
        "mean_length": 12.0,
        **{f"seconds_{phase}": value for phase, value in seconds.items()},
        **more,
    }


def an_eval(step, value):
    score = {"value": value, "low": value - 0.1, "high": value + 0.1}
    return {
        "step": step,
        "metrics": {"exact_match": score},
        "kl_references": 0.3,
        "kl_samples": None,
        "replacement_rate": 0.05,
    }


def labels(panels):
    return [re.search(r'<svg [^>]*aria-label="([^"]*)"', panel)[1] for panel in panels]


def data(panel):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', panel)[1])


def test_one_run_has_a_picture_of_everything_it_measured(tmp_path):
    run = write_run(tmp_path / "run", [a_step(n) for n in range(1, 9)])
    titles = [label.split(". ")[0] for label in labels(training_panels([run]))]
    assert titles == [
        "loss (nats a token)",
        "tokens the teacher replaced",
        "on the training text (nats a token)",
        "gradient norm, before clipping",
        "learning rate",
        "tokens a second",
        "completion length (tokens)",
        "seconds an update",
    ]


def test_what_was_not_measured_has_no_picture(tmp_path):
    nothing = dict.fromkeys(("replacement_rate", "teacher_nll", "lr", "grad_norm"))
    steps = [a_step(n, **nothing) for n in (1, 2)]
    titles = [
        label.split(". ")[0]
        for label in labels(training_panels([write_run(tmp_path / "run", steps)]))
    ]
    assert not {"tokens the teacher replaced", "learning rate"} & set(titles)
    assert "loss (nats a token)" in titles


def test_a_picture_is_said_in_words(tmp_path):
    run = write_run(tmp_path / "run", [a_step(1), a_step(2, loss=0.25), a_step(4)])
    loss, rate, text, *_ = labels(training_panels([run]))
    assert loss == (
        "loss (nats a token). 2 at step 1, 0.5 at step 4; lowest 0.25 at step 2, highest 2 at "
        "step 1."
    )
    assert rate.startswith("tokens the teacher replaced. 20.0% at step 1, 5.0% at step 4;")
    assert "student entropy: 0.5 at step 1" in text and "teacher NLL: 0.4 at step 1" in text


def test_the_values_are_those_of_the_records_and_lie_in_the_picture(tmp_path):
    run = write_run(tmp_path / "run", [a_step(n) for n in (1, 2, 4)])
    for panel in training_panels([run]):
        found = data(panel)
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', panel).groups())
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert found["steps"] == [1, 2, 4] and found["x"][0] == 0 and found["x"][1] > 4
        assert all(len(line["values"]) == 3 for line in found["lines"])
    loss, rate, *_, seconds = map(data, training_panels([run]))
    assert loss["lines"] == [{"name": "", "values": [2.0, 1.0, 0.5]}] and not loss["rate"]
    assert rate["lines"][0]["values"] == [0.2, 0.1, 0.05] and rate["rate"]
    assert [line["name"] for line in seconds["lines"]] == ["draft", "verify", "update"]


def test_a_long_run_is_walked_by_some_of_its_steps(tmp_path):
    folder = tmp_path / "run"
    write_json_atomic(folder / "config.json", {"method": "skd"})
    lines = "".join(json.dumps({"step": n, "loss": 1 / n}) + "\n" for n in range(1, 5001))
    (folder / "steps.jsonl").write_text(lines)
    steps = data(training_panels([Run(folder)])[0])["steps"]
    assert len(steps) == 400 and (steps[0], steps[-1]) == (1, 5000) and steps == sorted(set(steps))


def test_a_phase_keeps_its_colour_whatever_else_was_measured(tmp_path):
    with_score = [a_step(n, seconds_score=1.0) for n in (1, 2)]
    stacks = [
        training_panels([write_run(tmp_path / name, steps)])[-1]
        for name, steps in (("a", [a_step(1), a_step(2)]), ("b", with_score))
    ]
    hues = [re.search(r"fill: (var\(--skd-c\d)[^>]*>update \d+%</text>", one)[1] for one in stacks]
    assert hues[0] == hues[1] and ">score 20%</text>" in stacks[1]


def test_the_other_side_of_the_replacement_rate_is_the_acceptance_rate(tmp_path):
    run = write_run(tmp_path / "run", [a_step(n) for n in range(1, 9)])
    svg = training_panels([run])[1]
    texts = re.findall(r"<text[^>]*>([\d.]+)%</text>", svg)
    left, right = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    assert len(left) > 2 and "accepted</text>" in svg
    assert [float(a) + float(b) for a, b in zip(left, right, strict=True)] == [100.0] * len(left)


def test_shares_of_the_seconds_add_up(tmp_path):
    run = write_run(tmp_path / "run", [a_step(n) for n in (1, 2)])
    assert phase_shares(run) == {"draft": 0.25, "verify": 0.5, "score": 0.0, "update": 0.25}
    assert phase_shares(write_run(tmp_path / "bare", [{"step": 1, "loss": 1.0}])) == {}
    stack = training_panels([run])[-1]
    for words in ("draft 25%", "verify 50%", "update 25%"):
        assert f">{words}</text>" in stack
    assert "score" not in stack  # no second was spent there


def test_evaluations_are_drawn_with_intervals_where_there_are_two(tmp_path):
    evals = [an_eval(0, 0.4), an_eval(50, 0.6)]
    run = write_run(tmp_path / "run", [a_step(1)], evals=evals)
    score, kl, rate = evaluation_panels([run])
    assert labels([score])[0].startswith("exact-match, 95% intervals. 40.0% at step 0, 60.0% at")
    assert data(score)["lines"][0]["values"] == [0.4, 0.6]
    # the intervals are lines straight up: two points each of one x
    ups = re.findall(r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n" clip-path', score)
    assert sum(a == b for a, b in ups) == 2
    assert labels([kl, rate])[0].startswith("KL on references")
    assert evaluation_panels([write_run(tmp_path / "once", [], evals=evals[:1])]) == []


def test_evaluations_without_metrics_or_steps_are_no_error(tmp_path):
    evals = [{"step": 0}, {"step": 5, "metrics": None}, {"step": "x"}, {"metrics": {"a": 3}}]
    assert evaluation_panels([write_run(tmp_path / "run", [], evals=evals)]) == []


def test_several_runs_share_pictures_and_keep_their_names(tmp_path):
    first = write_run(tmp_path / "a", [a_step(n) for n in (1, 2, 3)])
    second = write_run(tmp_path / "b", [a_step(n) for n in (2, 4)], method="sft")
    loss = training_panels([first, second])[0]
    assert data(loss)["steps"] == [1, 2, 3, 4]
    assert data(loss)["lines"] == [
        {"name": "skd", "values": [2.0, 1.0, 0.6667, None]},
        {"name": "sft", "values": [None, 1.0, None, 0.5]},
    ]
    assert ">skd</text>" in loss and ">sft</text>" in loss


@pytest.mark.parametrize("value", [None, "x", True, float("nan")])
def test_a_value_that_is_no_number_is_left_out(tmp_path, value):
    run = write_run(tmp_path / "run", [a_step(1), a_step(2, lr=value), a_step(3)])
    assert isinstance(training_panels([run]), list)


def test_small_numbers_keep_their_digits_and_ids_are_not_used_twice(tmp_path):
    run = write_run(tmp_path / "run", [a_step(n) for n in range(1, 9)])
    panels = training_panels([run])
    rates = re.findall(r"<text[^>]*>([\d.e-]+)</text>", panels[4])
    assert {"2e-05", "4e-05", "6e-05", "8e-05"} <= set(rates)

    class Ids(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append(dict(attributes).get("id"))

    found: list = []
    for panel in panels:
        Ids().feed(panel)
    named = {name for name in found if name}
    # what is left is the content's own hash: the same id is the same shape
    assert all(re.fullmatch(r"[mp][0-9a-f]{10}", name) for name in named)
    assert not any("<style" in panel for panel in panels)
