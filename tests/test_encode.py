"""Text to ids: where the completion begins, what is cut or dropped, what stays text."""

import copy
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from skd_lab.encode import encode_examples, encode_prompt
from skd_lab.errors import DataError, UsageError
from skd_lab.tasks import TASKS, Example
from skd_lab.tokenizer import PAD, TURN_END, TURN_START, train_tokenizer

TEXTS = ["user assistant system hello there, how are you?\n 1 2 3 4"] * 5
TOKENIZER = train_tokenizer(TEXTS, 300)
END = TOKENIZER.convert_tokens_to_ids(TURN_END)


def chat(text: str, reference: str | None = "fine", system: str | None = None) -> Example:
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": text})
    return Example(id="x", messages=turns, reference=reference)


def encode(*examples: Example, tokenizer=TOKENIZER, **options):
    return encode_examples(tokenizer, examples, **{"max_prompt_tokens": 200, **options})


@given(st.text())
def test_tokenizer_round_trips_any_text(text):
    ids = TOKENIZER(text, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_tokenizer_splits_digits_and_knows_its_specials():
    assert TOKENIZER.tokenize("2048") == ["2", "0", "4", "8"]
    specials = TOKENIZER.convert_tokens_to_ids([PAD, TURN_START, TURN_END])
    assert specials == [0, 1, 2] and 259 < len(TOKENIZER) <= 300
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id) == (0, 2)
    assert TOKENIZER.model_max_length == 2048
    again = train_tokenizer(TEXTS, 300)
    assert again.get_vocab() == TOKENIZER.get_vocab()


def test_chat_template_is_chatml():
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    text = TOKENIZER.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"
    )


def test_completion_is_what_follows_the_generation_prompt_up_to_its_eos():
    row = encode(chat("hello", system="how")).encoded[0]
    assert TOKENIZER.decode(row.prompt_ids).endswith("<|im_start|>assistant\n")
    assert TOKENIZER.decode(row.reference_ids) == "fine<|im_end|>"
    assert row.reference_ids[-1] == END
    rendered = TOKENIZER.apply_chat_template(
        [*row.example.messages, {"role": "assistant", "content": "fine"}], return_dict=False
    )
    assert row.prompt_ids + row.reference_ids == rendered[:-1]  # the template's last line end


def test_without_a_reference_there_is_a_prompt_only():
    assert encode(chat("hello", None)).encoded[0].reference_ids is None
    assert encode(Example(id="x", prompt="hello")).encoded[0].reference_ids is None


def test_plain_prompts_get_no_template_and_an_eos():
    row = encode(Example(id="x", prompt="hello", reference=" there")).encoded[0]
    assert TOKENIZER.decode(row.prompt_ids) == "hello"
    assert TOKENIZER.decode(row.reference_ids) == " there<|im_end|>"


sanitizes = pytest.mark.skipif(
    "sanitize_control_tokens" not in inspect.signature(TOKENIZER.apply_chat_template).parameters,
    reason="before transformers 5.20 such text is refused (tested below)",
)


@sanitizes
@pytest.mark.parametrize("token", [PAD, TURN_START, TURN_END])
def test_user_text_never_becomes_a_control_token(token):
    plain, fenced = encode(chat("a b", "c d")), encode(chat(f"a{token}b", f"c{token}d"))
    special = set(TOKENIZER.all_special_ids)
    before, after = plain.encoded[0], fenced.encoded[0]
    count = [sum(index in special for index in row.prompt_ids) for row in (before, after)]
    assert count[0] == count[1] == 3
    assert f"a{token}b<|im_end|>" in TOKENIZER.decode(after.prompt_ids)
    assert TOKENIZER.decode(after.reference_ids) == f"c{token}d<|im_end|>"
    assert [index for index in after.reference_ids if index in special] == [END]
    bare = encode(Example(id="x", prompt=f"a{token}", reference=token)).encoded[0]
    assert not special & set(bare.prompt_ids + bare.reference_ids[:-1])


def test_where_it_cannot_be_kept_text_a_control_token_is_refused(monkeypatch):
    older = inspect.signature(lambda conversation, **kwargs: None)  # before transformers 5.20
    monkeypatch.setattr("skd_lab.templates.inspect.signature", lambda function: older)
    with pytest.raises(DataError, match=r"'<\|im_end\|>'.*upgrade transformers"):
        encode(chat("a<|im_end|>b"))
    assert encode(chat("a b")).kept == 1


@sanitizes
def test_fences_in_user_text_cannot_forge_anything():
    text = "a\ue0f1<|im_end|>\ue0f0b"
    row = encode(chat(text)).encoded[0]
    assert TOKENIZER.decode(row.prompt_ids).count("<|im_end|>") == 2
    assert row.prompt_ids.count(END) == 1


def test_over_long_prompts_are_dropped_cut_or_refused_and_counted():
    examples = [chat("hello"), chat("hello " * 30), chat("how " * 30, None)]
    limit = len(encode(examples[0]).encoded[0].prompt_ids)
    dropped = encode(*examples, max_prompt_tokens=limit)
    assert (dropped.kept, dropped.cut, dropped.dropped, dropped.total) == (1, 0, 2, 3)
    assert dropped.encoded[0].example is examples[0]
    cut = encode(*examples, max_prompt_tokens=limit, over_long="cut_left")
    assert (cut.kept, cut.cut, cut.dropped, cut.total) == (3, 2, 0, 3)
    whole = encode(*examples)
    for short, long in zip(cut.encoded, whole.encoded, strict=True):
        assert short.prompt_ids == long.prompt_ids[-limit:]
        assert short.reference_ids == long.reference_ids
    with pytest.raises(DataError, match=f"max_prompt_tokens {limit}"):
        encode(*examples, max_prompt_tokens=limit, over_long="error")


def test_cutting_keeps_the_bos():
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.bos_token = TURN_START
    row = encode(
        chat("hello " * 30), tokenizer=tokenizer, max_prompt_tokens=5, over_long="cut_left"
    ).encoded[0]
    whole = encode(chat("hello " * 30)).encoded[0].prompt_ids
    assert row.prompt_ids == whole[:1] + whole[-4:]


def test_long_references_lose_their_end_and_are_counted():
    report = encode(chat("a", "hello there"), chat("a", "b"), max_completion_tokens=3)
    assert report.references_cut == 1
    assert [len(row.reference_ids) for row in report.encoded] == [3, 2]
    assert END not in report.encoded[0].reference_ids


def test_template_that_rewrites_the_chat_is_refused():
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ loop.length }}{{ m.content }}<|im_end|>{% endfor %}"
    )
    with pytest.raises(DataError, match="differently from its prompt"):
        encode(chat("a"), tokenizer=tokenizer)


def test_template_without_an_eos_gets_the_tokenizers():
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    row = encode(chat("a", "b"), tokenizer=tokenizer).encoded[0]
    assert TOKENIZER.decode(row.reference_ids) == "b|<|im_end|>"


def test_template_that_drops_the_answer_is_refused():
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = (
        "{% for m in messages if m.role == 'user' %}{{ m.content }}|{% endfor %}<|im_end|>"
    )
    with pytest.raises(DataError, match="nothing is left"):
        encode(chat("a", "b"), tokenizer=tokenizer, eos_token_ids=[END])


def test_the_models_eos_ends_the_completion():
    """As Gemma: the template writes <end_of_turn>, which is not the tokenizer's eos."""
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.eos_token = PAD
    row = encode(chat("a", "b"), tokenizer=tokenizer, eos_token_ids=[0, END]).encoded[0]
    assert tokenizer.decode(row.reference_ids) == "b<|im_end|>"


def test_an_answer_that_begins_with_a_line_break_does_not_melt_into_the_prompt():
    tokenizer = train_tokenizer(["user assistant\n\nfine\n\n"] * 9, 290)
    assert tokenizer.tokenize("\n\n") == ["ĊĊ"]
    row = encode(chat("a", "\nfine"), tokenizer=tokenizer).encoded[0]
    assert row.prompt_ids == encode(chat("a"), tokenizer=tokenizer).encoded[0].prompt_ids
    assert tokenizer.decode(row.reference_ids) == "\nfine<|im_end|>"


def test_empty_text_is_refused():
    for example in (chat(" "), Example(id="x", prompt="\n")):
        with pytest.raises(DataError, match="x: its prompt is empty"):
            encode(example)
    for example in (chat("a", ""), Example(id="x", prompt="a", reference="")):
        with pytest.raises(DataError, match="x: its reference is empty"):
            encode(example)


@pytest.mark.parametrize("eos", [None, "<end>"])
def test_a_prompt_of_which_the_tokenizer_knows_nothing_is_refused(eos):
    words = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=eos)
    assert encode(Example(id="x", prompt="ab"), tokenizer=tokenizer).encoded[0].prompt_ids == [0, 1]
    for text in ("c", "ccc"):
        with pytest.raises(DataError, match="x: its prompt has no tokens"):
            encode(Example(id="x", prompt=text), tokenizer=tokenizer)
        with pytest.raises(DataError, match="its prompt has no tokens"):
            encode_prompt(tokenizer, text)


def test_a_prompt_that_is_its_closing_mark_alone_is_refused():
    words = Tokenizer(models.BPE({"a": 0, "<end>": 1}, []))
    words.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    assert encode(Example(id="x", prompt="a"), tokenizer=tokenizer).encoded[0].prompt_ids == [0]
    with pytest.raises(DataError, match="x: its prompt has no tokens"):
        encode(Example(id="x", prompt="c"), tokenizer=tokenizer)


def test_chat_without_a_template_and_wrong_options_are_refused():
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        encode(chat("a"), tokenizer=tokenizer)
    with pytest.raises(UsageError, match="drop, cut_left, error, got 'cut'"):
        encode(chat("a"), over_long="cut")
    with pytest.raises(UsageError, match="max_prompt_tokens must be at least 1, got 0"):
        encode(chat("a"), max_prompt_tokens=0)
    with pytest.raises(UsageError, match="max_completion_tokens must be at least 1, got 0"):
        encode(chat("a"), max_completion_tokens=0)


def test_ids_the_models_do_not_share_are_refused():
    largest = max(encode(chat("hello")).encoded[0].prompt_ids)
    encode(chat("hello"), vocab_size=largest + 1)
    with pytest.raises(DataError, match=f"token {largest}"):
        encode(chat("hello"), vocab_size=largest)


def test_every_summary_encodes_without_loss():
    examples = TASKS["summaries"].load("validation", 50)
    report = encode(*examples, max_prompt_tokens=1000, over_long="error")
    assert (report.kept, report.total, report.references_cut) == (50, 50, 0)
    for row in report.encoded:
        text = TOKENIZER.decode(row.reference_ids, skip_special_tokens=True)
        assert text == row.example.reference
