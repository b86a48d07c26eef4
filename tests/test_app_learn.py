"""Learn: every answer is what the records say, and is not shown before it is asked for."""

import copy
import json
import math
from importlib.resources import files

import pytest

from skd_lab.app import build_app, launch, lessons
from skd_lab.app.lessons import CARDS, question, recordings, strip_of, unjudged
from skd_lab.app.questions import choose

TITLES = [card.title for card in CARDS]


@pytest.fixture(scope="module")
def raw():
    """The records as JSON, read without the library: lesson to (header, tokens)."""
    path = files("skd_lab").joinpath("bundled", "lessons.ndjson")
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "schema" in record:
            header, tokens = record, []
            found[header["lesson"]] = (header, tokens)
        else:
            tokens.append(record)
    return found


def truth(place):
    asked = question(CARDS[place])
    return asked.choices[asked.truth]


def refused(tokens):
    return sum(one["teacher_rank"] > 0 and one["source"] == "teacher" for one in tokens)


def test_there_are_eight_cards_and_each_asks_one_question_with_one_true_answer():
    assert len(CARDS) == len(set(TITLES)) == 8
    for card in CARDS:
        asked = question(card)
        assert 2 <= len(asked.choices) == len(set(asked.choices)) <= 4
        assert 0 <= asked.truth < len(asked.choices)
        assert asked.words.endswith("?") and asked.why.endswith(".")
        assert set(card.shows) <= set(recordings())


def test_what_a_proposal_is(raw):
    tokens = raw["early"][1]
    kept = sum(
        one["source"] == "student" and one["kept_id"] == one["proposed_id"] for one in tokens
    )
    assert truth(0) == str(kept) == str(len(tokens) - refused(tokens))


def test_who_decides(raw):
    header, tokens = raw["early"]
    k = header["accept_top_k"]
    words = question(CARDS[1]).words
    token = next(one for one in tokens if words.startswith(f"Token {one['i']}: "))
    assert f"number {token['teacher_rank']} " in words and token["proposed"].strip() in words
    assert truth(1).startswith("It stands") == (token["teacher_rank"] <= k)
    assert (token["source"] == "student") == (token["teacher_rank"] <= k)


def test_k_of_one_and_of_everything(raw):
    ranks = [one["teacher_rank"] for one in raw["early"][1]]
    assert truth(2) == str(sum(rank > 1 for rank in ranks))
    assert f"refuses {sum(rank > raw['early'][0]['vocab_size'] for rank in ranks)}" in (
        question(CARDS[2]).why
    )


def test_early_and_late(raw):
    before, after = (
        refused(tokens) / sum(one["teacher_rank"] > 0 for one in tokens)
        for _, tokens in (raw["early"], raw["late"])
    )
    assert truth(3) == ("fewer" if after < before else "as many" if after == before else "more")
    assert raw["late"][0]["step"] > raw["early"][0]["step"] == 0
    assert raw["late"][0]["prompt"] == raw["early"][0]["prompt"]


def test_why_not_on_policy_alone(raw):
    header, tokens = raw["alone"]
    assert header["accept_top_k"] == header["vocab_size"] and refused(tokens) == 0
    assert truth(4) == str(sum(one["teacher_rank"] > 3 for one in tokens))
    assert CARDS[4].after["k"] == raw["early"][0]["accept_top_k"] == 3


def test_why_not_the_teachers_text_alone(raw):
    own, other = (
        sum(math.log(one["p_student"]) for one in raw[name][1]) for name in ("alone", "teacher")
    )
    odds = math.exp(own - other)
    bounds = (0, 1, 10, 1000, math.inf)
    low, high = bounds[question(CARDS[5]).truth], bounds[question(CARDS[5]).truth + 1]
    assert low <= odds <= high
    assert all(one["teacher_rank"] == 0 for one in raw["teacher"][1])


def test_the_lossless_rule(raw):
    shares = {
        name: refused(tokens) / sum(one["teacher_rank"] > 0 for one in tokens)
        for name, (_, tokens) in raw.items()
        if name in ("early", "lossless")
    }
    top, exact = shares["early"], shares["lossless"]
    wanted = "both the same" if top == exact else "the top-K rule of SKD"
    assert truth(6) == (wanted if top >= exact else "the lossless rule")
    assert raw["lossless"][0]["rule"] == "lossless" and raw["lossless"][0]["accept_top_k"] is None


def test_what_the_loss_sees(raw):
    tokens = raw["early"][1]
    stood = sum(one["kl"] for one in tokens if one["source"] == "student")
    share = stood / sum(one["kl"] for one in tokens)
    bounds = (0, 0.25, 0.5, 0.75, 1)
    place = question(CARDS[7]).truth
    assert bounds[place] <= share <= bounds[place + 1]
    assert f"{share:.0%}" in question(CARDS[7]).why


def test_other_records_give_other_answers(monkeypatch):
    """Nothing is written down: a student that is refused nowhere changes what is true."""
    found = copy.deepcopy(recordings())
    for token in found["early"].tokens:
        token |= {"teacher_rank": 1, "source": "student", "proposed_id": token["kept_id"]}
    found["early"].tokens[3]["teacher_rank"] = 2
    before = [truth(place) for place in (0, 2, 3, 6)]
    monkeypatch.setattr(lessons, "recordings", lambda: found)
    after = [truth(place) for place in (0, 2, 3, 6)]
    later = "more" if found["late"].replaced else "as many"
    assert after == [str(len(found["early"].tokens)), "1", later, "the lossless rule"]
    # the last may be true of both: which rule refuses more depends on the prompt
    assert all(one != other for one, other in zip(before[:3], after[:3], strict=True))


def test_verdicts_stay_hidden_until_the_answer_is_shown():
    for card in CARDS:
        before, after = strip_of(card, False), strip_of(card, True)
        assert [trace.header["lesson"] for trace in after] == list(card.shows)
        if card.hides:
            assert all(trace.verified == 0 == trace.discarded for trace in before)
            assert [t["kept"] for t in before[0].tokens] == [t["kept"] for t in after[0].tokens]
        else:
            assert len(before) == 1 and before[0] is after[0]
    bare = unjudged(recordings()["early"])
    assert not {"student_top", "teacher_top", "proposed_p_student"} & set(bare.tokens[0])


def test_choices_are_in_order_and_without_doubles():
    assert choose(3, 3, 9, 0, 9) == (("0", "3", "9"), 1)
    for place in (0, 2, 4):
        numbers = [int(choice) for choice in question(CARDS[place]).choices]
        assert numbers == sorted(set(numbers))


def test_the_endpoint_tells_questions_and_answers(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    app = build_app(tmp_path)
    url = launch(app, prevent_thread_lock=True, quiet=True)[1]
    try:
        rows = gradio_client.Client(url, verbose=False).predict(api_name="/lessons")
    finally:
        app.close()
    assert [row["title"] for row in rows] == TITLES
    assert [row["truth"] for row in rows] == [truth(place) for place in range(8)]
    assert all(row["truth"] in row["choices"] for row in rows)
