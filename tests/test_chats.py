"""Chats of several turns: which turn is trained, what is refused, what the teacher may not have."""

import copy
import json

import pytest

from skd_lab.batch import collate
from skd_lab.encode import encode_examples
from skd_lab.errors import DataError
from skd_lab.loading import load_tokenizer
from skd_lab.models import BUNDLED
from skd_lab.rollout import reference_rollout
from skd_lab.tasks import Example, get_task

TASK = get_task("jsonl")
TOKENIZER = load_tokenizer(BUNDLED / "tiny-qwen3" / "student")
END = TOKENIZER.eos_token_id


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


TALK = [
    turn("system", "Be brief."),
    turn("user", "Name a day."),
    turn("assistant", "Monday."),
    turn("user", "And one more?"),
    turn("assistant", "Friday."),
]


def load(tmp_path, *rows: dict) -> list[Example]:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return sorted(TASK.load("train", data_path=path), key=lambda example: example.id)


def encode(example: Example, tokenizer=TOKENIZER):
    return encode_examples(tokenizer, [example], max_prompt_tokens=500, over_long="error")


def test_only_the_last_answer_is_the_reference(tmp_path):
    [example] = load(tmp_path, {"messages": TALK})
    assert example.messages == TALK[:-1] and example.reference == "Friday."
    [open_end] = load(tmp_path, {"messages": TALK[:4]})
    assert open_end.messages == TALK[:4] and open_end.reference is None


def test_only_the_tokens_of_the_last_answer_are_trained(tmp_path):
    [example] = load(tmp_path, {"messages": TALK})
    report = encode(example)
    [row] = report.encoded
    whole = TOKENIZER.apply_chat_template(TALK, return_dict=False)[:-1]  # the last line end
    assert row.prompt_ids + row.reference_ids == whole
    ends = [place for place, token in enumerate(whole) if token == END]
    assert len(ends) == 5
    # the answer: what follows the last header, up to the fifth end of a turn
    header = TOKENIZER("<|im_start|>assistant\n")["input_ids"]
    start = ends[3] + 1 + len(TOKENIZER("\n")["input_ids"]) + len(header)
    assert start == len(row.prompt_ids)
    assert TOKENIZER.decode(whole[start : ends[4] + 1]) == "Friday.<|im_end|>"
    # and nothing else counts in the loss: not the earlier answer, not its end
    batch = collate(reference_rollout([row.prompt_ids], [row.reference_ids], [END]), pad_id=0)
    trained = batch.completion_mask[0].nonzero().flatten().tolist()
    assert trained == list(range(start, ends[4] + 1))
    assert report.chats_with_history == 1


def test_history_is_context_that_changes_the_prompt_alone(tmp_path):
    long, short = load(tmp_path, {"messages": TALK}, {"messages": TALK[3:]})
    rows = [encode(example) for example in (long, short)]
    assert rows[0].encoded[0].reference_ids == rows[1].encoded[0].reference_ids
    prompt = TOKENIZER.decode(rows[0].encoded[0].prompt_ids)
    assert prompt.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName")
    assert "<|im_start|>assistant\nMonday.<|im_end|>" in prompt
    assert prompt.endswith("And one more?<|im_end|>\n<|im_start|>assistant\n")
    assert [report.chats_with_history for report in rows] == [1, 0]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], '"messages" must be a list of turns'),
        ("hi", '"messages" must be a list of turns'),
        ([turn("bot", "a")], "turn 1 needs a role, one of system, user, assistant, got 'bot'"),
        (["hi"], "turn 1 needs a role"),
        ([{"content": "a"}], r"turn 1 needs a role, one of system, user, assistant\."),
        ([*TALK[:2], turn("tool", "4")], "turn 3 needs a role, .*got 'tool'"),
        ([{"role": "user"}], r'turn 1 \(user\) has no text in field "content"'),
        ([turn("user", [{"type": "text"}])], r"turn 1 \(user\) has no text"),
        ([turn("user", " ")], r"turn 1 \(user\) is empty"),
        ([*TALK[:2], turn("assistant", "")], r"turn 3 \(assistant\) is empty"),
        ([turn("system", ""), *TALK[1:]], r"turn 1 \(system\) is empty"),
        (TALK[:1], "nothing but a system turn. Add the user's"),
        ([turn("assistant", "a")], "turn 1 is the assistant's, but the user's is due"),
        ([TALK[0], TALK[2]], "turn 2 is the assistant's, but the user's is due"),
        ([TALK[1], TALK[1]], "turn 2 is the user's, but the assistant's is due"),
        ([*TALK[:3], TALK[2]], "turn 4 is the assistant's, but the user's is due"),
        ([*TALK[:3], TALK[0]], "turn 4 is a system turn; only the first"),
        ([TALK[0], TALK[0], TALK[1]], "turn 2 is a system turn; only the first"),
    ],
)
def test_turns_that_cannot_be_are_refused_by_file_and_line(tmp_path, messages, message):
    with pytest.raises(DataError, match=rf"mine\.jsonl, line 2: .*{message}"):
        load(tmp_path, {"messages": TALK}, {"messages": messages})


@pytest.mark.parametrize("field", ["teacher_prompt", "teacher_messages", "teacher_system"])
@pytest.mark.parametrize("base", [{"prompt": "a", "completion": "b"}, {"messages": TALK}])
def test_a_text_for_the_teacher_alone_is_refused(tmp_path, field, base):
    message = rf'mine\.jsonl, line 1: field "{field}" .*judge the same tokens.*prompt of both'
    with pytest.raises(DataError, match=message):
        load(tmp_path, {**base, field: "The answer is b."})


def test_a_system_text_beside_the_turns_is_not_passed_over(tmp_path):
    with pytest.raises(DataError, match='line 1: field "system" is not read.*the first turn'):
        load(tmp_path, {"prompt": "a", "system": "Be brief."})


def test_prompt_and_messages_together_are_refused(tmp_path):
    with pytest.raises(DataError, match="line 1: both prompt and messages"):
        load(tmp_path, {"prompt": "a", "messages": TALK})


def with_template(text: str):
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = text
    return tokenizer


GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def test_a_template_without_system_turns_says_so_and_what_to_do(tmp_path):
    """As Gemma 2: its template raises an error of its own."""
    long, short = load(tmp_path, {"messages": TALK}, {"messages": TALK[1:]})
    message = (
        r"Example line-1: .*does not take this chat \(System role not supported\)\. Put the system "
        "text at the beginning of the user's first turn, or use models with another template"
    )
    with pytest.raises(DataError, match=message):
        encode(long, with_template(GEMMA))
    assert encode(short, with_template(GEMMA)).kept == 1


def test_what_else_a_template_refuses_is_passed_on():
    example = Example(id="x", messages=[turn("assistant", "a"), turn("user", "b")])
    with pytest.raises(DataError, match=r"Example x: .*must alternate.*Repair its turns"):
        encode(example, with_template(GEMMA))


def test_a_template_that_passes_over_the_system_turn_is_refused(tmp_path):
    silent = "{% for m in messages if m.role != 'system' %}{{ m.content }}<|im_end|>{% endfor %}"
    long, short = load(tmp_path, {"messages": TALK}, {"messages": TALK[1:]})
    with pytest.raises(DataError, match="line-1: .*it leaves the system turn out.*Put the system"):
        encode(long, with_template(silent))
    assert encode(short, with_template(silent)).kept == 1


THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('</think>')[-1] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_what_a_template_takes_out_of_earlier_answers_stays_out(tmp_path):
    """As Qwen3: the thoughts of earlier turns are not shown again, those of the last are learnt."""
    talk = [*TALK[:2], turn("assistant", "<think>hm</think>Monday."), TALK[3]]
    talk.append(turn("assistant", "<think>so</think>Friday."))
    [example] = load(tmp_path, {"messages": talk})
    [row] = encode(example, with_template(THINKING)).encoded
    prompt = TOKENIZER.decode(row.prompt_ids)
    assert "assistant\nMonday." in prompt and "hm" not in prompt
    assert TOKENIZER.decode(row.reference_ids) == "<think>so</think>Friday.<|im_end|>"
