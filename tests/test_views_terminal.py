"""The strip in a terminal: colour on a tty, word-diff marks elsewhere, no token steers it."""

import io

import pytest
from rich.console import Console
from synthetic import HOSTILE, hostile_trace, make_trace

from skd_lab.views.terminal import counts_line, print_strip, strip_text
from skd_lab.views.text import kept_texts, token_text, wdiff


def printed(trace, **settings):
    file = io.StringIO()
    print_strip(trace, Console(file=file, width=100, **settings))
    return file.getvalue()


def test_a_pipe_gets_word_diff_marks_and_no_escape_codes():
    trace = make_trace([" a", " b", " c", " d"], replaced_every=4)
    text = printed(trace)
    assert text == (
        " a b c[- c-]{+ d+}\n"
        "3 accepted + 1 replaced + 1 discarded = 5 proposed; 1 of 4 refused (25.0%) at K = 3\n"
    )


def test_a_pipe_is_not_wrapped_to_a_width():
    trace = make_trace([f" word{i}" for i in range(200)])
    assert printed(trace).splitlines()[0] == wdiff(trace)


def test_a_terminal_gets_strike_arrow_and_underline():
    trace = make_trace([" a", " b", " c", " d"], replaced_every=4)
    text = strip_text(trace)
    assert text.plain == " a b c c→ d"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert "strike" in styles[" c"] and "underline" in styles[" d"] and "bold" in styles[" d"]
    coloured = printed(trace, force_terminal=True, color_system="truecolor")
    assert "\x1b[9;" in coloured and "3 accepted + 1 replaced" in coloured


@pytest.mark.parametrize(
    ("limit", "key"), [(1, " 1 "), (3, " 1  2-3 "), (30, " 1  2-5  6-25  26-30 ")]
)
def test_the_key_ends_at_k(limit, key):
    trace = make_trace([" a", " b"])
    trace.header["accept_top_k"] = limit
    text = printed(trace, force_terminal=True, color_system=None)
    assert f"accepted at rank {key}\n" in text


def test_refusals_show_where_colour_is_off():
    trace = make_trace([" a", " b"], replaced_every=2)
    bare = printed(trace, force_terminal=True, no_color=True, color_system="truecolor")
    assert "\x1b[9m" in bare and "38;2" not in bare


def test_the_colour_of_an_accepted_token_is_its_ranks():
    trace = make_trace([" x"] * 4, replaced_every=9)
    for token, rank in zip(trace.tokens, (1, 2, 6, 26), strict=True):
        token["teacher_rank"] = rank
    spans = [str(span.style) for span in strip_text(trace).spans]
    assert len(set(spans)) == len(spans) == 3  # rank 1 has no style of its own


@pytest.mark.parametrize("terminal", [True, False])
def test_no_token_steers_the_terminal(terminal):
    text = printed(hostile_trace(), force_terminal=terminal, color_system=None)
    for bad in "\x00\x07\u202e\u2066\u200b\u2028\r":
        assert bad not in text
    assert "\x1b[31m" not in text
    assert "[U+202E]evil" in text.replace("\n", "")


def test_a_rollout_without_a_teacher_says_so():
    trace = make_trace([" a", " b"])
    for token in trace.tokens:
        token.update(source="student", teacher_rank=0)
    assert counts_line(trace) == "2 tokens, none of them proposed by a student and judged"


def split_tokens(parts):
    trace = make_trace(["?"] * len(parts))
    for token, raw in zip(trace.tokens, parts, strict=True):
        token.update(kept=raw.decode("utf-8", "replace"), kept_bytes=raw.hex())
    return trace.tokens


def test_a_character_split_over_tokens_stands_whole_at_its_first():
    tokens = split_tokens([b"a\xf0\x9f", b"\x98", b"\x80b", b" c"])
    assert kept_texts(tokens) == ["a\U0001f600", "", "b", " c"]


def test_bytes_that_are_no_character_are_written_out():
    assert kept_texts(split_tokens([b"a\xff", b"\xe2", b"b"])) == ["a<0xFF>", "<0xE2>", "b"]
    assert token_text(split_tokens([b"\xf0\x9f"])[0]) == "<0xF0><0x9F>"


def test_damaged_bytes_fall_back_to_the_text():
    token = make_trace([" a"]).tokens[0]
    for bytes_ in ("zz", None, 5, ""):
        assert token_text({**token, "kept_bytes": bytes_}) == " a"


def test_wdiff_keeps_every_hostile_text_readable():
    marks = wdiff(hostile_trace())
    assert marks.count("[-") >= len(HOSTILE) and "<img src=x onerror=window.PWNED=1>" in marks


def test_a_schedule_and_the_lossless_rule_are_said():
    trace = make_trace([" a", " b"], replaced_every=2)
    trace.header["accept_top_k"] = [25, 1]
    assert counts_line(trace).endswith("1 of 2 refused (50.0%) at K = 25\u20261")
    assert "26 and on" not in printed(trace, force_terminal=True, color_system=None)
    trace.header["rule"] = "lossless"
    assert counts_line(trace).endswith("1 of 2 rejected (50.0%)")
