"""Cards say what the committed records say; the family joins from outside and can be left out."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import skd_lab.family as family
from skd_lab.errors import DataError, UsageError
from skd_lab.family.card import (
    CARDS,
    Demo,
    Verdict,
    get_card,
    judged,
    paired,
    read_rows,
    register_card,
    rerun,
)
from skd_lab.methods import CORE_METHODS, METHODS
from skd_lab.objectives import OBJECTIVES

MEASURED = [name for name, card in CARDS.items() if card.demo is not None]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_a_reader_asks(name):
    card = CARDS[name]
    assert len(card.sentences) == 2 and all(text.endswith(".") for text in card.sentences)
    for text in (card.title, card.paper, card.equation, card.statement, card.control):
        assert text
    assert card.choices, "say what is reconstructed"
    assert any(char.isdigit() for char in card.paper), "the year"
    assert "\\\\" not in card.equation and "$" not in card.equation
    assert card.demo is not None or card.group == "neighbour"


@pytest.mark.parametrize("name", MEASURED)
def test_the_committed_records_carry_the_cards_verdict(name):
    card = CARDS[name]
    rows = read_rows(card)
    assert rows, f"make them: skd-lab family {name} --rerun"
    seeds = {row["seed"] for row in rows}
    arms = {row["arm"] for row in rows}
    assert len(seeds) >= 5 and len(arms) >= 2
    # every arm under every seed: the differences are paired
    assert {(row["seed"], row["arm"]) for row in rows} == {(s, a) for s in seeds for a in arms}
    verdict = card.demo.judge(rows)
    assert verdict.outcome in ("held", "tied", "lost") and "+-" in verdict.text
    if verdict.outcome != "held":
        assert card.failed, "the card must say what did not hold"
    figure = card.demo.figure(rows)
    assert isinstance(figure, Figure)
    shown = {label.get_text() for axes in figure.axes for label in axes.get_yticklabels()}
    assert arms <= shown or not shown


def rows_of(**arms):
    return [
        {"seed": seed, "arm": arm, "score": score}
        for arm, scores in arms.items()
        for seed, score in enumerate(scores)
    ]


def test_a_difference_is_paired_over_seeds():
    rows = rows_of(method=[1.0, 2.0, 3.0, 4.0, 5.0], control=[0.9, 1.8, 2.9, 3.8, 4.9])
    mean, half, each = paired(rows, "method", "control", "score")
    assert mean == pytest.approx(0.14) and each == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.1])
    # t(4) = 2.776, sd = 0.05477
    assert half == pytest.approx(2.776 * 0.0547723 / 5**0.5, rel=1e-4)


@pytest.mark.parametrize(
    "control, settings, outcome",
    [
        ([0, 0, 0, 0, 0], {}, "held"),
        ([0, 0, 0, 0, 0], {"at_least": 2.0}, "tied"),
        ([2, 0, 2, 0, 1], {}, "tied"),
        ([9, 9, 9, 9, 9], {}, "lost"),
        ([9, 9, 9, 9, 9], {"lower_is_better": True}, "held"),
    ],
)
def test_a_verdict_needs_the_interval_on_its_side(control, settings, outcome):
    rows = rows_of(method=[1, 1.1, 0.9, 1, 1.05], control=control)
    assert judged(rows, "method", "control", "score", **settings).outcome == outcome


def test_a_rerun_writes_the_records_and_says_how_far_it_is(tmp_path):
    demo = Demo(
        run=lambda seed: [{"seed": seed, "arm": "a", "score": seed / 2, "none": float("nan")}],
        judge=lambda rows: Verdict(outcome="tied", text=""),
        figure=lambda rows: Figure(),
    )
    card = dataclasses.replace(CARDS["cmkd"], name="probe", demo=demo)
    told = []
    rows, seconds = rerun(card, tmp_path, told.append)
    assert len(told) == 5 and "seed 4" in told[-1] and seconds >= 0
    again = read_rows(card, tmp_path)
    assert [row["score"] for row in again] == [row["score"] for row in rows]
    assert again[0]["none"] is None
    assert read_rows(dataclasses.replace(card, name="nobody"), tmp_path) == []
    (tmp_path / "probe.jsonl").write_text('{"seed": 0}\nbroken\n')
    with pytest.raises(DataError, match="line 2"):
        read_rows(card, tmp_path)
    with pytest.raises(UsageError, match="'minillm' has no demo of its own"):
        rerun(CARDS["minillm"], tmp_path)


def test_what_is_no_card_is_refused():
    with pytest.raises(UsageError, match="no card 'skd'. Choose one of: "):
        get_card("skd")
    with pytest.raises(UsageError, match="already a card 'cmkd'"):
        register_card(CARDS["cmkd"])
    hasty = dataclasses.replace(CARDS["cmkd"].demo, seeds=(0, 1))
    with pytest.raises(UsageError, match="has 2 seeds: five at least"):
        register_card(dataclasses.replace(CARDS["cmkd"], name="hasty", demo=hasty))
    assert "hasty" not in CARDS


def test_every_registered_row_is_on_a_card():
    commands = " ".join(card.command for card in CARDS.values())
    rows = [name for name in METHODS if name not in CORE_METHODS]
    assert "distillm" in rows
    for name in rows:
        assert f"--method {name}" in commands, name
    shown = {METHODS[name].objectives[0] for name in rows}
    for name, row in OBJECTIVES.items():
        if row.source and f"--objective {name}" not in commands:
            # the second anchor of correlation is on the same card
            assert name in shown | {"correlation_ce"}, name


def test_the_readme_names_every_row_and_leads_to_every_card():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Related systems\n")[1].split("\n## ")[0]
    named = set(re.findall(r"--(?:method|objective) (\w+)", section))
    own = {name for name in METHODS if name not in CORE_METHODS}
    own |= {name for name, row in OBJECTIVES.items() if row.source}
    assert named <= own
    # an objective that is a method's default needs no line of its own
    assert own - named <= {METHODS[name].objectives[0] for name in named & set(METHODS)}
    assert set(re.findall(r"family\.html#(\w+)\)", section)) == set(CARDS)


def test_nothing_in_the_core_imports_the_family():
    code = (
        "import sys, skd_lab.compare, skd_lab.demo, skd_lab.pretrain, skd_lab.cli.train\n"
        "assert not [name for name in sys.modules if name.startswith('skd_lab.family')]\n"
        "from skd_lab.methods import METHODS, CORE_METHODS\n"
        "assert tuple(METHODS) == CORE_METHODS\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_the_commands_know_the_core_alone(tmp_path):
    code = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "gone = lambda name, *rest: None if 'family' in name else found(name, *rest)\n"
        "importlib.util.find_spec = gone\n"
        "from skd_lab.cli import main\n"
        f"sys.exit(main(['train', '--method', 'distillm', '--run-dir', {str(tmp_path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "Unknown method 'distillm'" in done.stderr


def test_the_package_names_what_readers_use():
    for name in ("CARDS", "Card", "Demo", "Verdict", "get_card", "read_rows", "rerun"):
        assert hasattr(family, name)
