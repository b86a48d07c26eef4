"""Judging a text that is given: where would this teacher refuse it?

Every token is asked about with the given text before it, so one verdict never changes another:
the records accept every token, and a view asks what another K would do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skd_lab.app.asks import MAX_TEXT_CHARACTERS, check_text
from skd_lab.errors import UsageError
from skd_lab.records import STUDENT, Rollout, TokenTrace, Trace

if TYPE_CHECKING:
    from skd_lab.models import Pair

MAX_TEXT_TOKENS = 1000
"""A strip and its cards hold so much without getting slow."""


def judge_text(pair: "Pair", prompt: str, text: str, seed: int = 0) -> Trace:
    """The trace of a pasted text.

    Args:
        pair: loaded.
        prompt: what the text answers; "" for a text on its own, whose first token is then not
            judged, because nothing stands before it.
        text: to be judged.
        seed: of the teacher's draws at every place.

    Raises:
        UsageError: if the text is empty, too long, or cannot be used with this pair.
    """
    from skd_lab.encode import encode_prompt

    check_text(text, "text", MAX_TEXT_CHARACTERS)
    tokenizer = pair.tokenizer
    options = {"add_special_tokens": False, "split_special_tokens": True}
    ids = list(tokenizer(text, **options)["input_ids"])
    if len(ids) > MAX_TEXT_TOKENS:
        raise UsageError(
            f"The text has {len(ids):,} tokens; at most {MAX_TEXT_TOKENS:,} are judged here. "
            "Shorten it."
        )
    if prompt.strip():
        start = encode_prompt(tokenizer, prompt, pair.vocab_size)
    elif tokenizer.bos_token_id is not None:
        start = [tokenizer.bos_token_id]
    else:
        start, ids = ids[:1], ids[1:]
        if not ids:
            raise UsageError("The text has one token only, and nothing before it. Write more.")
    return forced(pair, start, ids, seed=seed, label="your text")


def forced(
    pair: "Pair",
    prompt_ids: Sequence[int],
    ids: Sequence[int],
    *,
    label: str,
    seed: int = 0,
    uniforms: Any = None,
) -> Trace:
    """The trace of given ids behind a prompt, each judged as if the student had proposed it.

    Args:
        uniforms: [2, 1, tokens] of the teacher's draws; drawn from the seed if None.

    Raises:
        UsageError: for an id that the two models do not share, or a text beyond their context.
    """
    import torch

    from skd_lab.recording import record_traces
    from skd_lab.sampling import SamplingPolicy, draw_uniforms

    check_ids(pair, [*prompt_ids, *ids])
    uniforms = draw_uniforms(seed, 1, len(ids)) if uniforms is None else uniforms
    kept = torch.tensor(list(ids))
    nothing = torch.full((len(ids),), float("nan"))
    rollout = Rollout(
        prompt_ids=list(prompt_ids),
        completion_ids=kept,
        trace=TokenTrace(
            source=[STUDENT] * len(ids),
            proposed_id=kept,
            kept_id=kept,
            teacher_rank=torch.zeros_like(kept),
            student_log_prob=nothing,
            teacher_log_prob=nothing.clone(),
            block=torch.full_like(kept, -1),
            discarded=[[] for _ in ids],
        ),
        finished=int(kept[-1]) in pair.eos_token_ids,
    )
    rollout.trace.teacher_rank = ranks(pair, rollout)
    trace = record_traces(
        pair,
        [rollout],
        uniforms=uniforms,
        accept_top_k=pair.vocab_size,
        gamma=1,
        student_policy=SamplingPolicy(),
        teacher_policy=SamplingPolicy(),
        seed=seed,
    )[0]
    trace.header |= {"rule": "teacher_forced", "label": label, "method": ""}
    for name in ("gamma", "finished"):  # nobody drafted it, and nobody cut it
        del trace.header[name]
    return trace


def ranks(pair: "Pair", rollout: Rollout) -> Any:
    """The teacher's rank of every completion token, on raw logits; [tokens]."""
    from skd_lab.batch import collate, completion_hidden
    from skd_lab.decode import sampling_mode
    from skd_lab.projection import Projection
    from skd_lab.sampling import teacher_rank

    batch = collate([rollout], pair.pad_token_id).to(pair.teacher.device)
    with sampling_mode(pair.teacher):
        hidden = completion_hidden(pair.teacher, batch)
        logits = Projection.of(pair.teacher, pair.vocab_size).logits(hidden)
        return teacher_rank(logits, batch.completion_ids).cpu()


def check_ids(pair: "Pair", ids: Sequence[int]) -> None:
    """Raise UsageError for ids that these models cannot take, or cannot take so many of."""
    if ids and not 0 <= min(ids) <= max(ids) < pair.vocab_size:
        raise UsageError(
            f"The text needs token {max(ids)}, and these two models share the ids below "
            f"{pair.vocab_size}. Choose the models that the text was made with."
        )
    for model in (pair.student, pair.teacher):
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and len(ids) > context:
            raise UsageError(
                f"Prompt and text have {len(ids)} tokens, more than the context of "
                f"{type(model).__name__}, {context}. Shorten them."
            )
