"""K on the slider, in a browser: records are judged again, and what is not certain is said."""

import pytest
import strip_pages
from strip_pages import MARKS, focused
from synthetic import make_trace

from skd_lab.views import k_stops, redecide, render_strip
from skd_lab.views.shades import CHANNELS, shade

pytestmark = MARKS
chromium, host, show = strip_pages.chromium, strip_pages.host, strip_pages.show


def ranked(ranks, limit=3, **header):
    """A trace whose proposals have these ranks; ranks beyond the limit are refused."""
    trace = make_trace([f" w{i}" for i in range(len(ranks))], accept_top_k=limit)
    for i, (token, rank) in enumerate(zip(trace.tokens, ranks, strict=True)):
        refused = rank > limit
        token.update(
            source="teacher" if refused else "student",
            teacher_rank=rank,
            proposed_id=1000 + i if refused else i,
            proposed=f" p{i}" if refused else f" w{i}",
            teacher_draw={"id": i if refused else 3000 + i, "text": f" d{i}", "p": 0.2},
        )
        token["proposed_bytes"] = token["proposed"].encode().hex()
    trace.header.update(header)
    return trace


RANKS = [1, 2, 3, 1, 5, 2, 9, 3, 1, 40, 2, 1]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 9, 10, 25, 40, 4000])
def test_the_page_decides_as_python_does(host, k):
    trace = ranked(RANKS)
    page = host(trace, k=k)
    found, classes = redecide(trace, k), page.classes()
    assert [[d for d in one if d in ("accepted", "replaced")][0] for one in classes] == (
        found.decisions
    )
    assert ["fork" in one for one in classes] == [i == found.fork for i in range(len(classes))]
    behind = [found.fork is not None and i > found.fork for i in range(len(classes))]
    assert ["hatched" in one for one in classes] == behind


def test_the_stops_are_pythons(host):
    trace = ranked(RANKS)
    ticks = host(trace).page.locator(".ticks span").all_inner_texts()
    assert [int(tick.replace(",", "")) for tick in ticks] == k_stops([trace])


def test_the_whole_vocabulary_replaces_nothing_and_more_k_never_replaces_more(host):
    page = host(ranked(RANKS)).page
    page.locator(".dial input").focus()
    page.keyboard.press("Home")
    counts = []
    for _ in range(page.locator(".ticks span").count()):
        counts.append(page.locator(".tok.replaced").count())
        page.keyboard.press("ArrowRight")
    assert counts[0] == sum(rank > 1 for rank in RANKS)
    assert counts == sorted(counts, reverse=True) and counts[-1] == 0
    assert page.locator(".dial input").get_attribute("aria-valuetext") == (
        "4,000 of 4,000, 0 of 12 replaced"
    )


def test_the_recorded_k_is_the_recorded_run(host):
    trace = ranked(RANKS)
    page = host(trace).page
    recorded = page.locator(".strip").inner_text()
    assert "K = 3" in page.locator(".knob .head").inner_text()
    assert "as recorded" in page.locator(".knob .words").inner_text()
    page.locator(".dial input").focus()
    for key in ("ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.locator(".strip").inner_text() == recorded
    assert page.locator(".tok.hatched, .tok.flipped, .whatif p").count() == 0


def test_behind_the_first_changed_token_nothing_is_certain(host):
    page = host(ranked(RANKS), actions=["rerun"]).page
    page.locator(".dial input").focus()
    page.keyboard.press("ArrowRight")  # K = 5 keeps the proposal at token 4
    assert page.locator(".tok").nth(4).inner_text().strip() == "p4"
    assert page.locator(".tok.hatched").count() == len(RANKS) - 5
    words = page.locator(".whatif").inner_text()
    assert words.startswith("What if K were 5? One verdict differs from the recorded run")
    assert "the first at token 4." in words and "the other 7 tokens are hatched" in words
    page.locator(".tok").nth(6).hover()
    assert "would be another" in page.locator(".card .unsure").inner_text()
    page.locator(".tok").nth(4).hover()
    assert page.locator(".card .unsure").count() == 0
    assert "As recorded, with K = 3, it was refused." in page.locator(".verdict").inner_text()
    label = page.locator(".tok").nth(4).get_attribute("aria-label")
    assert "with K 5, replaced as recorded" in label
    assert "uncertain" in page.locator(".tok").nth(5).get_attribute("aria-label")


def test_a_lower_k_writes_the_teachers_recorded_draw(host):
    page = host(ranked(RANKS), k=2).page
    token = page.locator(".tok").nth(2)
    assert token.locator(".del").inner_text().strip() == "w2"
    assert token.locator(".ins").inner_text().strip() == "d2"


def test_a_verdict_that_flips_without_changing_the_text_leaves_the_rest_certain(host):
    trace = ranked([1, 2, 3, 1])
    trace.tokens[2]["teacher_draw"] = {"id": 2, "text": " w2", "p": 0.2}
    page = host(trace, k=2).page
    assert page.locator(".tok.flipped").count() == 1 and page.locator(".tok.hatched").count() == 0
    assert "so the text stays" in page.locator(".whatif").inner_text()


def test_a_proposal_that_would_end_the_text_says_so(host):
    trace = ranked([1, 9, 2, 1])
    trace.tokens[1]["proposed_id"] = trace.tokens[-1]["kept_id"]
    page = host(trace, k=10, actions=["rerun"]).page
    assert "The text would end there." in page.locator(".whatif").inner_text()
    assert page.locator(".again").count() == 0


def test_running_again_is_an_event_where_a_host_can(host):
    made = host(ranked(RANKS), k=5, actions=["rerun"])
    made.page.locator(".again").click()
    assert made.events("rerun") == [{"trace": 0, "start": 4, "k": 5}]


def test_running_again_is_a_command_where_no_host_can(show):
    page = show(render_strip(ranked(RANKS), k=5))
    page.get_by_role("button", name="Re-run from token 4 with K = 5").click()
    assert "skd-lab rollout" in page.locator(".command").inner_text()
    assert "--accept-top-k 5 --gamma 5 --seed 0" in page.locator(".command").inner_text()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"rule": "lossless"}, "it has no K"),
        ({"policies": {"variant": "released"}}, "variant released"),
        ({"policies": {"replacement": "student_in_top_k"}}, "replaced by student_in_top_k"),
    ],
)
def test_where_k_tells_nothing_the_slider_is_off_and_says_why(host, header, reason):
    made = host(ranked(RANKS, **header), k=1)
    assert not made.page.locator(".dial").is_visible()
    assert reason in made.page.locator(".knob .words").inner_text()
    refused = sum(rank > 3 for rank in RANKS)
    assert made.page.locator(".tok.replaced").count() == refused


@pytest.mark.parametrize(
    "header",
    [
        {"policies": {"variant": "paper", "replacement": "teacher_argmax"}},
        {"policies": None},
        {"variant": "paper", "replacement": "teacher_sample"},
    ],
)
def test_where_k_tells_something_the_slider_is_on(host, header):
    assert host(ranked(RANKS, **header)).page.locator(".dial input").is_enabled()


def test_the_most_likely_token_stands_where_the_run_wrote_that(host):
    trace = ranked(RANKS, policies={"replacement": "teacher_argmax"})
    trace.tokens[1]["teacher_top"] = [[77, " best", 0.6], [1, " w1", 0.3]]
    page = host(trace, k=1).page
    assert page.locator(".tok").nth(1).locator(".ins").inner_text().strip() == "best"


def test_a_schedule_starts_as_recorded(host):
    schedule = [3] * 6 + [2] * 3 + [1]
    trace = ranked([1, 2, 3, 1, 5, 2, 9, 3, 1, 40, 2, 1], accept_top_k=schedule)
    page = host(trace).page
    assert page.locator(".knob .value").inner_text() == "K = 3…1"
    assert "as recorded" in page.locator(".dial input").get_attribute("aria-valuetext")
    assert "K\u00a0=\u00a03…1" in page.locator(".facts").first.inner_text()
    page.locator(".tok").nth(9).hover()
    assert "beyond K = 1." in page.locator(".verdict").inner_text()
    page.locator(".dial input").focus()
    page.keyboard.press("End")
    assert page.locator(".tok.replaced").count() == 0
    page.keyboard.press("Home")
    assert page.locator(".tok.hatched").count() == 0


def test_a_given_text_has_no_fork(host):
    trace = ranked([1, 4, 2, 9], limit=4000, rule="teacher_forced")
    page = host(trace, k=3).page
    assert page.locator(".tok.replaced").count() == 2 and page.locator(".tok.hatched").count() == 0
    assert "would refuse 2 of these 4 tokens" in page.locator(".whatif").inner_text()
    page.locator(".tok").nth(1).hover()
    assert page.locator(".verdict").inner_text().startswith("Would be refused. The text has")
    assert page.locator(".again").count() == 0


def test_k_moves_by_keys_from_the_text_and_the_host_hears_where_it_rests(host):
    made = host(ranked(RANKS))
    made.page.locator(".tok").nth(7).focus()
    for key in ("k", "k", "K"):
        made.page.keyboard.press(key)
    assert made.page.locator(".knob .value").inner_text() == "K = 2"
    assert focused(made.page) == 7
    made.page.wait_for_function("events.some(([name]) => name === 'k_change')")
    assert made.events("k_change") == [{"k": 2}]
    made.page.get_by_role("button", name="As recorded").click()
    assert made.events("k_change")[-1] == {"k": None}
    assert made.page.locator(".knob .value").inner_text() == "K = 3"


def test_focus_card_and_nodes_stay_when_k_moves(host):
    made = host(ranked(RANKS))
    made.page.locator(".tok").nth(9).click()
    made.page.evaluate(
        "window.nodes = [...document.querySelector('div').shadowRoot.querySelectorAll('.tok')]"
    )
    made.give(k=1)
    assert focused(made.page) == 9
    assert made.page.locator(".card .number").inner_text() == "#9"
    assert made.page.locator(".card .pinned").count() == 1
    assert made.page.evaluate(
        "[...document.querySelector('div').shadowRoot.querySelectorAll('.tok')]"
        ".every((node, at) => node === nodes[at])"
    )
    made.give(k=None)
    assert made.page.locator(".tok.hatched").count() == 0


def test_the_bars_count_ranks_and_pick_out_their_tokens(host):
    made = host(ranked(RANKS))
    bars = made.page.locator(".bars button")
    names = bars.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    counts = [int(name.split(": ")[1].split(" ")[0]) for name in names]
    assert sum(counts) == len(RANKS) and counts[0] == RANKS.count(1)
    bars.nth(names.index("ranks 6 to 10: 1 of 12 proposals")).click()
    lit = ["lit" in one for one in made.classes()]
    assert lit == [rank == 9 for rank in RANKS]
    beyond = bars.evaluate_all("all => all.map(one => one.classList.contains('beyond'))")
    assert beyond == [False] * 3 + [True] * (len(names) - 3)
    bars.nth(names.index("ranks 6 to 10: 1 of 12 proposals")).click()
    assert not any("lit" in one for one in made.classes())


def test_a_host_can_light_ranks_or_tokens(host):
    made = host(ranked(RANKS), highlight={"rank": [4, 25]})
    assert ["lit" in one for one in made.classes()] == [4 <= rank <= 25 for rank in RANKS]
    made.give(highlight={"tokens": [[0, 2], [0, 3], [1, 4]]})
    assert [i for i, one in enumerate(made.classes()) if "lit" in one] == [2, 3]
    made.give(highlight=None)
    assert not any("lit" in one for one in made.classes())


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_shades_are_pythons(host, channel):
    trace = make_trace(accept_top_k=40)
    for i, token in enumerate(trace.tokens):
        token.update(kl=i / 10, entropy_student=i / 15, entropy_teacher=i / 15, p_student=i / 36)
    trace.tokens[3].update(kl=None, p_student=None, p_teacher=None, entropy_student=None)
    made = host(trace, colour=channel)
    decisions = redecide(trace, None).decisions
    expected = [shade(t, d, channel) for t, d in zip(trace.tokens, decisions, strict=True)]
    shades = {"r1", "r2", "r3", "r4", "cream"}
    assert ["".join(shades & set(one)) for one in made.classes()] == expected
    counts = made.page.locator(".legend button[data-only^=r]:visible").evaluate_all(
        "all => all.map(one => [one.dataset.only, Number(one.querySelector('b').textContent)])"
    )
    wanted = {name: expected.count(name) for name in set(expected) - {"", "cream"}}
    assert {k: v for k, v in counts if k != "replaced"} == wanted


def test_the_loss_lens_shares_the_kl_out(host):
    trace = ranked([1, 9, 1, 1])
    for token, kl in zip(trace.tokens, (1.0, 3.0, 0.0, 0.0), strict=True):
        token["kl"] = kl
    words = host(trace, colour="kl").page.locator(".sum").inner_text()
    assert "The 25.0% that the teacher wrote hold 75.0% of the KL" in words


def test_a_run_without_a_refusal_says_what_would_show_some(host):
    words = host(ranked([1, 2, 3, 1], limit=25)).page.locator(".sum").inner_text()
    assert "within the teacher’s top 25; with K = 1 the teacher would refuse some" in words


def test_the_dial_runs_from_supervised_to_on_policy_with_the_teachers_share(host):
    page = host(ranked(RANKS)).page
    ends = page.locator(".ends").inner_text()
    assert ends.startswith("K = 1: nearly supervised") and ends.endswith("K = |V|: on-policy")
    page.locator(".dial input").focus()
    for key, share in (("Home", "8 of 12 judged tokens (66.7%)"), ("End", "0 of 12")):
        page.keyboard.press(key)
        assert f"the teacher writes {share}" in page.locator(".knob .words").inner_text()


def test_blocks_are_counted_against_teacher_passes(host):
    trace = ranked([1, 2, 9, 1, 1, 1])
    for token, block in zip(trace.tokens, (0, 0, 0, 1, 1, 1), strict=True):
        token["block"] = block
    trace.tokens[2]["discarded"] = [[7, " x"], [8, " y"]]
    page = host(trace).page
    assert "2 draft blocks: 2 teacher passes for 6 tokens" in page.locator(".sum").inner_text()
    page.locator(".tok").nth(1).hover()
    assert "0: 5 proposed, 2 kept, 1 replaced, 2 discarded" in page.locator(".small").inner_text()


def test_a_new_run_is_shown_as_it_was_recorded(host):
    made = host(ranked(RANKS))
    made.page.locator(".dial input").focus()
    made.page.keyboard.press("Home")
    made.give(value=ranked([1, 2, 9, 1], limit=5))
    assert made.page.locator(".knob .value").inner_text() == "K = 5"
    assert made.page.locator(".tok.hatched").count() == 0
    made.give(k=2)
    made.give(value=ranked([1, 4, 9, 1], limit=5))
    assert made.page.locator(".knob .value").inner_text() == "K = 2"


def test_an_adaptive_draft_length_is_said_and_asked_for_again(show):
    page = show(render_strip(ranked(RANKS, gamma="adaptive"), k=5))
    assert "drafts of adaptive length" in page.locator(".facts").first.inner_text()
    page.locator(".again").click()
    assert "--gamma adaptive" in page.locator(".command").inner_text()
