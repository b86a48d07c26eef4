"""skd-lab family: the page says what the records say, the card puts the control first."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from skd_lab.cli import main
from skd_lab.family import CARDS, Demo, Verdict
from skd_lab.family.made import NAME, expected_seconds, read_made
from skd_lab.family.page import equation_markup, render_family
from skd_lab.family.shown import as_text, show

PAGE = Path(__file__).parent.parent / "docs/family.html"


@pytest.fixture(scope="module")
def page():
    return render_family(show(CARDS.values()), date="2026-01-02").page()


def test_the_page_holds_every_card_and_asks_nobody_for_anything(page):
    named = re.sub(r'"http://www\.w3\.org/[^"]*"', "", page)  # names of namespaces
    assert not re.search(r"(https?:)?//[a-z]|@import|<script|<link|src=", named)
    assert "2026-01-02" in page and "torch" in page
    for name, card in CARDS.items():
        section = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        assert 'class="equation" role="img" aria-label="' in section
        assert ("<figure>" in section) == (card.demo is not None), name
        assert page.count(f'href="#{name}"') == 1
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    # a drawing that refers to a part of itself finds it
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_where_the_control_ties_the_card_says_so_first(page):
    for shown in show(CARDS.values()):
        if shown.verdict is None:
            continue
        section = page.split(f'<section id="{shown.card.name}">')[1].split("</section>")[0]
        places = [section.index(words) for words in ('class="outcome', 'class="equation')]
        text = as_text(shown)
        lines = [text.index(words) for words in (shown.first_words, shown.card.sentences[0][:40])]
        ahead = shown.verdict.outcome != "held"
        assert (places == sorted(places)) == (lines == sorted(lines)) == ahead
        assert f"<b>{shown.first_words}</b>" in section
        if shown.card.held and ahead:
            assert section.index("What did not") < section.index("What held")


def test_a_picture_has_its_numbers_in_words(page):
    from html import unescape

    drawn = [one for one in show(CARDS.values()) if one.verdict]
    labels = [
        unescape(text) for text in re.findall(r'<svg [^>]*role="img" aria-label="(.*?)"', page)
    ]
    for shown in drawn:
        assert any(label.endswith(shown.verdict.text) for label in labels), shown.card.name
        metrics, arms = shown.table()
        arm, metric = next(iter(arms)), metrics[0]
        own = [row[metric] for row in shown.rows if row["arm"] == arm]
        assert arms[arm][0][0] == pytest.approx(sum(own) / len(own))


def test_the_committed_page_says_what_the_committed_records_say():
    committed = PAGE.read_text(encoding="utf-8")
    for shown in show(CARDS.values()):
        told = f"{shown.card.name}: make it again: skd-lab family -o docs/family.html"
        assert f'<section id="{shown.card.name}">' in committed, told
        if shown.verdict is not None:
            words = shown.verdict.text.replace("+-", "\u00b1").split(".")[0]
            assert words in committed, told


@pytest.mark.parametrize(
    "latex, lines",
    [(r"\tfrac14 a \le b \| c \ge \big|_{y}", 1), (r"a = b,\quad c = \tfrac{1}{2}", 2)],
)
def test_an_equation_is_drawn_in_the_colour_of_the_text(latex, lines):
    markup = equation_markup(latex)
    assert markup.count('<path fill="currentColor" d="M') == lines
    # every outline ends where it began
    assert markup.count("M") == markup.count("Z") > 5


def test_an_unknown_card_or_a_name_given_twice_is_refused(capsys, tmp_path):
    for words, said in [
        (["skd"], "no card 'skd'. Choose one of: "),
        (["cmkd", "--rerun", "rdd"], "named twice, 'cmkd' and 'rdd'"),
        (["all"], "`all` belongs to --rerun"),
        (["--rerun"], "takes the name of a card, or all"),
        (["--rerun", "uld"], "'uld' has no demo of its own"),
        (["-o", str(tmp_path)], "is a folder. Give -o a file"),
    ]:
        assert main(["family", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_card_without_records_says_how_to_make_them(capsys, tmp_path):
    assert main(["family", "cmkd", "--records", str(tmp_path)]) == 0
    assert "No records yet. Make them: skd-lab family --rerun cmkd." in capsys.readouterr().out
    out = tmp_path / "page.html"
    assert main(["family", "--records", str(tmp_path), "-o", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "<figure>" not in text and "Make them: skd-lab family --rerun cmkd." in text
    assert main(["family", "uld"]) == 0
    assert "No demonstration of its own" in capsys.readouterr().out


def test_records_of_something_else_are_refused_with_what_to_do(capsys, tmp_path):
    (tmp_path / "cmkd.jsonl").write_text('{"seed": 0, "arm": "other", "score": 1.0}\n')
    assert main(["family", "cmkd", "--records", str(tmp_path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "does not hold what the demo of 'cmkd' measures" in said
    assert "skd-lab family --rerun cmkd" in said


@pytest.fixture
def probe(monkeypatch):
    """Two small cards in place of those there are."""

    def card(name, score):
        demo = Demo(
            run=lambda seed: [
                {"seed": seed, "arm": arm, "score": score * (arm == "<b>new") + seed / 100}
                for arm in ("<b>new", "old")
            ],
            judge=lambda rows: Verdict(outcome="lost", text="<i>new 1.0 +- 0.1."),
            figure=lambda rows: Figure(),
        )
        return dataclasses.replace(CARDS["cmkd"], name=name, title=f"<u>{name}", demo=demo)

    made = {name: card(name, score) for name, score in [("first", 1.0), ("second", 2.0)]}
    monkeypatch.setattr("skd_lab.family.CARDS", made)
    monkeypatch.setattr("skd_lab.family.card.CARDS", made)
    return made


def test_a_rerun_says_its_time_and_writes_records_and_page(capsys, tmp_path, probe):
    records, page = tmp_path / "records", tmp_path / "page.html"
    words = ["--records", str(records), "-o", str(page)]
    assert main(["family", "--rerun", "first", *words]) == 0
    told = capsys.readouterr()
    assert "Running again: first. Time: not timed yet." in told.err
    assert re.search(r"first: \d+ s \(\d+ s of one core\)", told.err)
    assert "The control wins. <i>new 1.0 +- 0.1." in told.out
    assert not (records / "second.jsonl").exists()
    made = read_made(records)["first"]
    assert made["python"] == ".".join(map(str, sys.version_info[:3]))
    text = page.read_text(encoding="utf-8")
    # what a record or a card holds is text, never markup
    assert "&lt;b&gt;new" in text and "<b>new" not in text and "<u>" not in text
    assert "&lt;i&gt;new 1.0 \u00b1 0.1." in text and "1.020 \u00b1 0.016" in text

    rows = [made | {"cpu_seconds": 30.0}, {"card": "other", "seconds": 5.0}]
    (records / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["family", "second", "--rerun", *words]) == 0
    assert set(read_made(records)) == {"first", "second", "other"}
    capsys.readouterr()
    assert main(["family", "--rerun", "all", *words]) == 0
    told = capsys.readouterr()
    seconds, untimed = expected_seconds(list(probe.values()), records)
    assert re.match(r"Running again: first, second\. Time: about 3\d s on one core", told.err)
    assert untimed == [] or seconds == 0
    assert told.out.count("The control wins.") == 2 and "All: " in told.err
    assert page.read_text(encoding="utf-8").count("<figure>") == 2


def test_cards_are_json_for_programs(capsys, probe, tmp_path):
    assert main(["family", "first", "--rerun", "--records", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    (card,) = said["cards"]
    assert said["page"] is None and card["outcome"] == "lost"
    assert card["arms"]["old"]["score"]["mean"] == pytest.approx(0.02)


def test_without_the_package_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["family"]) == 2
    assert "skd_lab.family is not there" in " ".join(capsys.readouterr().err.split())
