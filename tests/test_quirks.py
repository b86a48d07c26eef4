"""Chats of Qwen2.5, Qwen3, Gemma 2 and Gemma 3 as ids that were written by hand (quirks.py)."""

import importlib

import pytest
from quirks import GENERATION, gemma_tokenizer, qwen_tokenizer, tokenizer_of
from tiny import tiny_model

from skd_lab.encode import encode_examples, encode_prompt
from skd_lab.errors import DataError, UsageError
from skd_lab.evaluate import evaluate
from skd_lab.models import make_pair
from skd_lab.rollout import reference_rollout
from skd_lab.tasks import Example, get_task
from skd_lab.templates import ChatTemplate, thoughts_of

START, END, LINE, HELLO = 151644, 151645, 198, 9707
ASSISTANT = [START, 77091, LINE]
NO_THOUGHTS = [151667, 271, 151668, 271]
HELLOS = [{"role": "user", "content": "Hello"}]
SYSTEM = {"role": "system", "content": "Hello"}


def encode(family, messages, reference="Hello", eos=None, **options):
    """The one example's prompt and reference, as ids."""
    tokenizer = tokenizer_of(family)
    ends = eos or [tokenizer.eos_token_id, *ChatTemplate(tokenizer).turn_ends()]
    example = Example(id="x", messages=messages, reference=reference)
    settings = {"max_prompt_tokens": 500, "eos_token_ids": ends, **options}
    [row] = encode_examples(tokenizer, [example], **settings).encoded
    return row.prompt_ids, row.reference_ids


def said(role, content):
    return {"role": role, "content": content}


def test_a_qwen_chat_as_ids():
    prompt, reference = encode("qwen2.5", [SYSTEM, *HELLOS])
    told = [START, 8948, LINE, HELLO, END, LINE]
    asked = [START, 872, LINE, HELLO, END, LINE]
    assert prompt == [*told, *asked, *ASSISTANT]
    assert reference == [HELLO, END]


def test_qwen25_speaks_of_itself_where_no_system_turn_is_given():
    prompt, _ = encode("qwen2.5", HELLOS)
    assert (
        qwen_tokenizer("qwen2.5")
        .decode(prompt)
        .startswith("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.")
    )


def test_without_thinking_the_empty_block_is_prompt_and_the_answer_is_the_completion():
    """As when text is generated with enable_thinking=False; trl supervises the block instead."""
    prompt, reference = encode("qwen3", HELLOS)
    assert prompt == [START, 872, LINE, HELLO, END, LINE, *ASSISTANT, *NO_THOUGHTS]
    assert reference == [HELLO, END]
    assert encode_prompt(qwen_tokenizer("qwen3"), "Hello") == prompt


def test_with_thinking_the_thoughts_are_part_of_the_completion():
    thinking = "<think>\nHello\n</think>\n\nHello"
    prompt, reference = encode("qwen3", HELLOS, thinking, thinking=True)
    assert prompt == [START, 872, LINE, HELLO, END, LINE, *ASSISTANT]
    assert reference == [151667, LINE, HELLO, LINE, 151668, 271, HELLO, END]
    # an answer without thoughts has the empty block as its own
    assert encode("qwen3", HELLOS, thinking=True)[1] == [*NO_THOUGHTS, HELLO, END]


def test_thoughts_that_were_not_asked_for_are_refused():
    with pytest.raises(DataError, match="x: its reference begins with thoughts.*--thinking"):
        encode("qwen3", HELLOS, "<think>hm</think>Hello")


def test_thinking_without_a_switch_is_refused():
    with pytest.raises(UsageError, match="--thinking is given.*no switch"):
        encode("qwen2.5", HELLOS, thinking=True)
    tokenizer = qwen_tokenizer("qwen2.5")
    with pytest.raises(UsageError, match="--thinking is given"):
        encode_prompt(tokenizer, "Hello", thinking=True)
    plain = [Example(id="x", prompt="Hello")]
    assert encode_examples(tokenizer, plain, max_prompt_tokens=9).kept == 1


def test_thoughts_of_earlier_answers_are_not_shown_again():
    earlier = said("assistant", "<think>\nhm\n</think>\n\nHello")
    prompt, _ = encode("qwen3", [*HELLOS, earlier, *HELLOS])
    asked = [START, 872, LINE, HELLO, END, LINE]
    assert prompt == [
        *asked, *ASSISTANT, HELLO, END, LINE, *asked, *ASSISTANT, *NO_THOUGHTS
    ]  # fmt: skip


def test_thinking_marks_in_a_users_text_stay_text():
    prompt, _ = encode("qwen3", [said("user", "<think>Hello</think>")])
    assert prompt.count(151667) == prompt.count(151668) == 1  # those of the template
    assert "<think>Hello</think>" in qwen_tokenizer("qwen3").decode(prompt)


def test_a_mark_inside_an_answer_is_no_block():
    _, reference = encode("qwen3", HELLOS, "write </think> there")
    assert 151668 not in reference
    assert qwen_tokenizer("qwen3").decode(reference) == "write </think> there<|im_end|>"


def test_thoughts_are_parted_from_the_answer():
    assert thoughts_of("<think>\na\nb\n</think>\n\nc") == ("a\nb", "c")
    assert thoughts_of("\n<think></think>c") == ("", "c")
    assert thoughts_of("c <think>a</think>") == ("", "c <think>a</think>")
    assert thoughts_of("<think>a") == ("", "<think>a")


def test_a_template_that_drops_thoughts_is_refused():
    tokenizer = qwen_tokenizer("qwen2.5")
    kept, dropping = tokenizer.chat_template, "m.content.split('</think>')[-1]"
    try:
        tokenizer.chat_template = kept.replace("+ m.content +", f"+ {dropping} +")
        with pytest.raises(DataError, match="it leaves the thoughts of the reference out"):
            encode("qwen2.5", HELLOS, "<think>hm</think>Hello")
    finally:
        tokenizer.chat_template = kept


@pytest.mark.parametrize(
    "family, ids",
    [
        ("gemma2", [2, 106, 1645, 108, 4521, 107, 108, 106, 2516, 108]),
        ("gemma3", [2, 105, 2364, 107, 9259, 106, 107, 105, 4368, 107]),
    ],
)
def test_a_gemma_chat_as_ids_has_one_bos_and_ends_with_its_turn(family, ids):
    prompt, reference = encode(family, HELLOS)
    assert prompt == ids
    # the line end behind <end_of_turn> is nobody's answer; <eos> never follows a turn
    assert reference == [ids[4], ids[5]]


def test_gemma_answers_lose_the_white_space_around_them():
    assert encode("gemma3", HELLOS, "  Hello \n")[1] == [9259, 106]


def test_gemma2_refuses_a_system_turn_and_gemma3_puts_it_before_the_first_question():
    with pytest.raises(DataError, match="System role not supported.*beginning of the user's"):
        encode("gemma2", [SYSTEM, *HELLOS])
    prompt, _ = encode("gemma3", [SYSTEM, *HELLOS])
    # two line ends are one token of their own
    assert prompt == [2, 105, 2364, 107, 9259, 108, 9259, 106, 107, 105, 4368, 107]


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_plain_prompts_of_gemma_have_one_bos(family):
    tokenizer = gemma_tokenizer(family)
    examples = [Example(id="x", prompt="Hello", reference="Hello"), Example(id="y", prompt="<bos>")]
    rows = encode_examples(tokenizer, examples, max_prompt_tokens=99, eos_token_ids=[1]).encoded
    hello = tokenizer.convert_tokens_to_ids("Hello")
    assert (rows[0].prompt_ids, rows[0].reference_ids) == ([2, hello], [hello, 1])
    assert rows[1].prompt_ids.count(2) == 1  # a "<bos>" in somebody's text is text


@pytest.mark.parametrize("family", GENERATION)
def test_the_template_tells_what_ends_a_turn(family):
    end = {"gemma2": 107, "gemma3": 106}.get(family, END)
    assert ChatTemplate(tokenizer_of(family)).turn_ends() == [end]


def test_only_qwen3_has_a_thinking_switch():
    switches = {family: ChatTemplate(tokenizer_of(family)).has_switch for family in GENERATION}
    assert [family for family, has in switches.items() if has] == ["qwen3"]


TALKS = [
    HELLOS,
    [*HELLOS, said("assistant", " Hello \n")],
    [*HELLOS, said("assistant", "<think>\na\n</think>\n\nb"), *HELLOS],
    [*HELLOS, said("assistant", "b"), *HELLOS, said("assistant", "<think>\na\n</think>\n\nb")],
    [SYSTEM, *HELLOS, said("assistant", "b")],
]


@pytest.mark.parametrize("family", GENERATION)
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("settings", [{}, {"enable_thinking": False}, {"enable_thinking": True}])
def test_the_rebuilt_templates_render_as_the_copies_that_trl_ships(family, talk, settings):
    trl = pytest.importorskip("trl.chat_template_utils")
    name = {"qwen2.5": "qwen2_5", "gemma2": "gemma"}.get(family, family)
    source = (trl._CHAT_TEMPLATES_DIR / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer = tokenizer_of(family)
    if family == "gemma2" and talk[0] is SYSTEM:
        pytest.skip("both refuse it (tested above)")
    for header in (False, True):
        given = {"tokenize": False, "add_generation_prompt": header, **settings}
        ours = tokenizer.apply_chat_template(talk, **given)
        assert ours == tokenizer.apply_chat_template(talk, chat_template=source, **given)


def test_a_model_that_thinks_is_judged_by_its_answer(monkeypatch):
    tokenizer = qwen_tokenizer("qwen3")
    examples = [Example(id=str(i), messages=HELLOS, reference="Hello") for i in range(2)]
    pair = make_pair(*[tiny_model("qwen3", seed=s, vocab_size=151_936) for s in (0, 1)], tokenizer)
    encoded = encode_examples(tokenizer, examples, max_prompt_tokens=99, thinking=True).encoded
    written = [[151667, LINE, LINE, 151668, 271, HELLO, END], [HELLO, LINE, HELLO, END]]

    def thought(model, prompts, **settings):
        return reference_rollout(prompts, written, [END])

    monkeypatch.setattr(importlib.import_module("skd_lab.evaluate"), "student_rollout", thought)
    seen = []
    task = get_task("summaries")
    monkeypatch.setattr(type(task), "score", lambda *a: seen.append(a[-1]) or {"right": 1.0})
    evaluate(pair, task, encoded, max_new_tokens=8, accept_top_k=2, gamma=2)
    assert seen[:2] == ["Hello", "Hello\nHello"]
