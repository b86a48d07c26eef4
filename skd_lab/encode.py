"""Text becomes ids once, here, and stays ids.

The completion of a chat is what the full rendering has beyond the prompt's rendering, and the
prompt's rendering ends with the generation header: labels never depend on a template's own marks.
So only the assistant's last turn is trained. Its earlier turns, the user's and the system's are
context, on which there is no loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from skd_lab.errors import DataError, UsageError
from skd_lab.tasks import Example
from skd_lab.templates import ChatTemplate, thoughts_of

OVER_LONG = ("drop", "cut_left", "error")
"""What may happen to a prompt that is too long."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One example as ids."""

    example: Example
    prompt_ids: list[int]
    """Every turn but the assistant's last; ends with the generation header, where there is a chat
    template."""
    reference_ids: list[int] | None
    """The answer, ending with the eos the template writes; None without a reference."""


@dataclass(frozen=True, kw_only=True)
class EncodeReport:
    """Encoded examples, and what became of the others: kept + dropped = total."""

    encoded: list[Encoded]
    cut: int
    """Prompts, among those kept, that lost their beginning."""
    dropped: int
    """Prompts that were too long."""
    references_cut: int
    """References, among those kept, that lost their end (and so their eos)."""

    @property
    def chats_with_history(self) -> int:
        """Prompts, among those kept, that hold earlier answers of the assistant, as context."""
        return sum(
            any(turn["role"] == "assistant" for turn in row.example.messages or [])
            for row in self.encoded
        )

    @property
    def kept(self) -> int:
        """Prompts that are used."""
        return len(self.encoded)

    @property
    def total(self) -> int:
        """Prompts that were given."""
        return self.kept + self.dropped


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_prompt_tokens: int,
    over_long: str = "drop",
    max_completion_tokens: int | None = None,
    eos_token_ids: Sequence[int] | None = None,
    vocab_size: int | None = None,
    thinking: bool = False,
) -> EncodeReport:
    """Prompts and references as ids; over-long prompts are treated as asked, and counted.

    Args:
        tokenizer: with a chat template if any example is a chat.
        examples: of a task.
        max_prompt_tokens: longest prompt that is kept as it is.
        over_long: "drop" leaves longer prompts out, "cut_left" takes their beginning away (the
            bos, if there is one, and the generation header stay), "error" refuses them.
        max_completion_tokens: longer references are cut there.
        eos_token_ids: ids that end an answer; the tokenizer's eos if None.
        vocab_size: shared ids of both models.
        thinking: let answers begin with thoughts, where the chat template has a switch for it
            (Qwen3). Without them its prompts end with an empty thinking block, as they do in use.

    Raises:
        DataError: for a prompt or reference that is empty, a prompt without tokens, turns that the
            chat template refuses or drops, a rendering that does not start with its prompt,
            thoughts that are not asked for, or an id beyond vocab_size; names the example.
        UsageError: for an unknown over_long, a limit below 1, chats without a chat template, or
            thinking without a switch for it.
    """
    if over_long not in OVER_LONG:
        raise UsageError(f"over_long must be one of {', '.join(OVER_LONG)}, got '{over_long}'.")
    for name, limit in (("prompt", max_prompt_tokens), ("completion", max_completion_tokens)):
        if limit is not None and limit < 1:
            raise UsageError(f"max_{name}_tokens must be at least 1, got {limit}.")
    _check_switch(tokenizer, thinking)
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    eos = own if eos_token_ids is None else list(eos_token_ids)
    encoded, cut, dropped, references_cut = [], 0, 0, 0
    for example in examples:
        prompt, reference = _encode(tokenizer, example, eos, thinking)
        _check_ids(example, [*prompt, *(reference or [])], vocab_size)
        if len(prompt) > max_prompt_tokens:
            if over_long == "drop":
                dropped += 1
                continue
            if over_long == "error":
                raise DataError(
                    f"Example {example.id}: its prompt has {len(prompt)} tokens, more than "
                    f"max_prompt_tokens {max_prompt_tokens}. Shorten it, or raise the limit."
                )
            # a model that was trained with a bos is lost without it
            bos = prompt[:1] if prompt[0] == tokenizer.bos_token_id else []
            prompt = bos + prompt[len(prompt) - max_prompt_tokens + len(bos) :]
            cut += 1
        if reference is not None and max_completion_tokens is not None:
            references_cut += len(reference) > max_completion_tokens
            reference = reference[:max_completion_tokens]
        encoded.append(Encoded(example=example, prompt_ids=prompt, reference_ids=reference))
    return EncodeReport(encoded=encoded, cut=cut, dropped=dropped, references_cut=references_cut)


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    vocab_size: int | None = None,
    thinking: bool = False,
) -> list[int]:
    """One prompt by a user: a chat turn if there is a chat template, else plain text.

    Args:
        tokenizer: of both models.
        text: what a person wrote.
        vocab_size: shared ids of both models.
        thinking: as encode_examples takes it.

    Raises:
        DataError: if the text is empty or has no tokens.
        UsageError: for thinking without a switch for it.
    """
    _check_switch(tokenizer, thinking)
    if tokenizer.chat_template:
        example = Example(id="prompt", messages=[{"role": "user", "content": text}])
    else:
        example = Example(id="prompt", prompt=text)
    prompt, _ = _encode(tokenizer, example, [], thinking)
    _check_ids(example, prompt, vocab_size)
    return prompt


def _check_switch(tokenizer: PreTrainedTokenizerBase, thinking: bool) -> None:
    if thinking and not (tokenizer.chat_template and ChatTemplate(tokenizer).has_switch):
        raise UsageError(
            "--thinking is given, but this model's chat template has no switch for it (as Qwen3's "
            "has). Leave it out; a model that always thinks does so without being asked."
        )


def _encode(
    tokenizer: PreTrainedTokenizerBase, example: Example, eos: Sequence[int], thinking: bool
) -> tuple[list[int], list[int] | None]:
    text = example.prompt if example.messages is None else example.messages[-1]["content"]
    if not (text or "").strip():
        raise DataError(f"Example {example.id}: its prompt is empty. Give it some text.")
    if example.reference is not None and not example.reference.strip():
        raise DataError(
            f"Example {example.id}: its reference is empty. Give an answer, or leave it out."
        )
    if example.messages is None:
        prompt, reference = _encode_plain(tokenizer, example, eos)
    else:
        prompt, reference = _encode_chat(tokenizer, example, eos, thinking)
    if not prompt:
        raise DataError(
            f"Example {example.id}: its prompt has no tokens: the tokenizer knows nothing of its "
            "text. Give it some text that the tokenizer knows."
        )
    return prompt, reference


def _encode_plain(
    tokenizer: PreTrainedTokenizerBase, example: Example, eos: Sequence[int]
) -> tuple[list[int], list[int] | None]:
    """The prompt with the tokenizer's own opening (a bos, if it has one); an eos at the end."""
    options = {"split_special_tokens": True}  # a "<|im_end|>" in somebody's text is text
    prompt = tokenizer(example.prompt, **options)["input_ids"]
    if tokenizer.eos_token_id is not None and prompt[-1:] == [tokenizer.eos_token_id]:
        prompt = prompt[:-1]  # some tokenizers close every text; this one goes on
    if example.reference is None:
        return prompt, None
    answer = tokenizer(example.reference, add_special_tokens=False, **options)["input_ids"]
    return prompt, [*answer, *eos[:1]]


def _encode_chat(
    tokenizer: PreTrainedTokenizerBase, example: Example, eos: Sequence[int], thinking: bool
) -> tuple[list[int], list[int] | None]:
    assert example.messages is not None
    if not tokenizer.chat_template:
        raise UsageError(
            f"Example {example.id} is a chat, but the tokenizer has no chat template. Use a model "
            "with one, or give prompt and completion as plain text."
        )
    template = ChatTemplate(tokenizer, thinking)
    try:
        prompt = template.ids(example.messages, header=True)
        _check_system(template, example)
        if example.reference is None:
            return prompt, None
        _check_thoughts(template, example)
        turns = [*example.messages, {"role": "assistant", "content": example.reference}]
        full = template.ids(turns)
        if full[: len(prompt)] == prompt:
            answer = full[len(prompt) :]
        else:
            answer = _answer_by_text(template, example, turns)
    except TemplateError as error:
        raise _refused(example, str(error)) from error
    ends = [place for place, token in enumerate(answer) if token in eos]
    # what a template writes behind the end of a turn (a line break) is nobody's answer
    answer = answer[: ends[0] + 1] if ends else [*answer, *eos[:1]]
    if answer[:1] == [] or answer[0] in eos:
        raise DataError(
            f"Example {example.id}: nothing is left of its reference in the chat template. "
            "The template may drop assistant turns."
        )
    return prompt, answer


def _answer_by_text(
    template: ChatTemplate, example: Example, turns: list[dict[str, str]]
) -> list[int]:
    """The answer's ids where a token would reach across its beginning.

    An answer that begins with a line break can melt with the header's own into one id. At
    generation time the header stands alone, so the two are encoded apart.
    """
    start, full = template.text(turns[:-1], header=True), template.text(turns)
    if template.controls_in(turns) or not full.startswith(start):
        raise DataError(
            f"Example {example.id}: the chat template renders the answered chat differently from "
            "its prompt, so the answer cannot be told from the prompt. Use a template whose "
            "rendering only grows, or give prompt and completion as plain text."
        )
    return list(template.tokenizer(full[len(start) :], add_special_tokens=False)["input_ids"])


def _check_system(template: ChatTemplate, example: Example) -> None:
    """Some templates pass over a system turn without a word."""
    turns = example.messages or []
    if turns[0]["role"] == "system" and turns[0]["content"].strip() not in template.text(turns):
        raise _refused(example, "it leaves the system turn out")


def _check_thoughts(template: ChatTemplate, example: Example) -> None:
    """A reference with thoughts is learnt with them or not at all."""
    assert example.messages is not None and example.reference is not None
    thoughts, _ = thoughts_of(example.reference)
    if not thoughts:
        return
    if template.has_switch and not template.thinking:
        raise DataError(
            f"Example {example.id}: its reference begins with thoughts, but the model is asked to "
            "answer without any. Take the <think> block out, or train with --thinking."
        )
    answer = {"role": "assistant", "content": example.reference}
    if thoughts not in template.text([*example.messages, answer]):
        raise _refused(example, "it leaves the thoughts of the reference out")


def _refused(example: Example, reason: str) -> DataError:
    system = (example.messages or [])[0]["role"] == "system"
    cure = "Put the system text at the beginning of the user's first turn, or" if system else ""
    return DataError(
        f"Example {example.id}: the chat template does not take this chat ({reason.rstrip('.')}). "
        f"{cure or 'Repair its turns, or'} use models with another template."
    )


def _check_ids(example: Example, ids: Sequence[int], vocab_size: int | None) -> None:
    if vocab_size is not None and max(ids) >= vocab_size:
        raise DataError(
            f"Example {example.id} needs token {max(ids)}, which only one of the two models "
            f"knows: they share the ids below {vocab_size}. Use two models of one family."
        )
