"""Universal logit distillation: a teacher with another tokenizer (Boizard et al. 2024, 2402.12030).

The two vocabularies have nothing in common but their texts, so the probabilities are compared in
order of size, whichever tokens they belong to. After GOLD (TRL) two things are added: positions are
matched by the text in front of them, not by their number, and tokens that are spelled the same are
compared by name.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skd_lab.batch import collate, completion_hidden
from skd_lab.config import RunConfig, flag
from skd_lab.decode import sampling_mode
from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.loading import load_model, load_tokenizer
from skd_lab.losses import generalized_jsd
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.models import Pair, make_pair, places
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.projection import Projection
from skd_lab.records import Rollout
from skd_lab.rollout import reference_rollout
from skd_lab.scored import Scored
from skd_lab.sources import RolloutRequest
from skd_lab.sources import register as register_source

SETTINGS = {"weight": 1.5, "by_name": 0.0}
"""Weight of the distance beside the text's own cross-entropy; 1 to compare tokens that both know by
name (GOLD), 0 for sizes alone (ULD)."""
_BOTH = "_skd_lab_tokenizers"


def sorted_distance(
    student: Float[Tensor, "tokens ids"], teacher: Float[Tensor, "tokens others"]
) -> Float[Tensor, " tokens"]:
    """Sum of |q_(i) - p_(i)|, both sorted from the largest down, the shorter one padded by zeros.

    In [0, 2], at most twice the total variation, and 0 for a permuted vocabulary: it does not know
    which token is meant.

    Args:
        student: probabilities; gradients flow here.
        teacher: probabilities over any number of ids.
    """
    q, p = (probs.sort(dim=-1, descending=True).values for probs in (student, teacher))
    width = max(q.shape[-1], p.shape[-1])
    q, p = (torch.nn.functional.pad(probs, (0, width - probs.shape[-1])) for probs in (q, p))
    return (q - p).abs().sum(-1)


def named_distance(
    student: Tensor, teacher: Tensor, mine: Int[Tensor, " named"], theirs: Int[Tensor, " named"]
) -> Float[Tensor, " tokens"]:
    """JSD over the tokens that both know and one bucket for the others, and sizes of the others.

    Args:
        student: probabilities; gradients flow here.
        teacher: probabilities.
        mine: the student's ids of tokens that both know.
        theirs: the teacher's ids of the same tokens.
    """
    known = [probs[:, ids] for probs, ids in ((student, mine), (teacher, theirs))]
    buckets = [
        torch.cat([part, (1 - part.sum(-1, keepdim=True)).clamp(min=0)], -1).clamp(min=1e-12).log()
        for part in known
    ]
    rest = []
    for probs, ids in ((student, mine), (teacher, theirs)):
        others = torch.ones(probs.shape[-1], dtype=torch.bool, device=probs.device)
        others[ids] = False
        rest.append(probs[:, others])
    return generalized_jsd(buckets[0], buckets[1], beta=0.5) + sorted_distance(rest[0], rest[1])


def same_places(mine: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Places of two tokenisations of one text that have the same text in front of them.

    Args:
        mine: the texts of the student's tokens, in order.
        theirs: of the teacher's.

    Returns:
        Pairs (student's place, teacher's place); the first is always (0, 0).
    """
    starts: dict[int, int] = {}
    at = 0
    for place, piece in enumerate(theirs):
        starts.setdefault(at, place)
        at += len(piece)
    found, at = [], 0
    for place, piece in enumerate(mine):
        if at in starts:
            found.append((place, starts[at]))
        at += len(piece)
    return found


def load_two(config: RunConfig) -> Pair:
    """A pair whose tokenizers may differ; the vocabulary is the student's.

    Raises:
        UsageError: if the run should also look at what such a teacher cannot judge.
    """
    asked = [name for name in ("trace_prompts", "eval_every") if getattr(config, name)]
    student, teacher = places(config.pair, config.student, config.teacher)
    mine, theirs = load_tokenizer(student), load_tokenizer(teacher)
    if asked and mine.get_vocab() != theirs.get_vocab():
        raise UsageError(
            f"{flag(asked[0])} is {getattr(config, asked[0])}, but the two tokenizers differ, so "
            "this teacher cannot judge the student's tokens. Give --trace-prompts 0 and no "
            "--eval-every, and evaluate the student later beside a teacher of its own family."
        )
    models = [
        load_model(where, dtype=dtype or config.dtype, device=config.device)
        for where, dtype in ((student, None), (teacher, config.teacher_dtype))
    ]
    pair = make_pair(models[0], models[0], mine)
    setattr(models[1], _BOTH, (mine, theirs))
    names = {"student": str(student), "teacher": str(teacher)}
    return dataclasses.replace(pair, teacher=models[1], names=names)


def tokenizers_of(
    teacher: PreTrainedModel,
) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase] | None:
    """The student's and the teacher's tokenizer, for a teacher of load_two; else None."""
    return getattr(teacher, _BOTH, None)


def retokenised(request: RolloutRequest) -> list[Rollout]:
    """References with the states of a teacher that read the same text in its own tokens.

    A state stands where both tokenisations have the same text in front of them; nan elsewhere. The
    teacher reads the prompt as the student does, control tokens spelled out.
    """
    answers = [ids for ids in request.reference_ids if ids is not None]
    rollouts = reference_rollout(request.prompt_ids, answers, request.eos_token_ids)
    both = tokenizers_of(request.teacher)
    if both is None:
        return rollouts
    mine, theirs = both
    ends = set(request.eos_token_ids)
    end = theirs.eos_token_id
    texts = []
    for prompt, ids in zip(request.prompt_ids, answers, strict=True):
        kept = [token for token in ids if token not in ends]
        pieces = _pieces(mine, kept) + [""] * (len(ids) - len(kept))
        read = theirs.encode(mine.decode(prompt), add_special_tokens=False)
        written = theirs.encode("".join(pieces), add_special_tokens=False)
        own = _pieces(theirs, written) + ([""] if end is not None else [])
        texts.append((pieces, read, [*written, *([end] if end is not None else [])], own))
    made = reference_rollout([t[1] for t in texts], [t[2] for t in texts], [end or 0])
    batch = collate(made, pad_id=0).to(request.teacher.device)
    with sampling_mode(request.teacher), request.clock.phase("score"):
        states = completion_hidden(request.teacher, batch).split(batch.lengths.tolist())
    for rollout, (pieces, _, _, own), seen in zip(rollouts, texts, states, strict=True):
        found = seen.new_full((len(pieces), seen.shape[-1]), torch.nan)
        for place, there in same_places(pieces, own):
            found[place] = seen[there]
        rollout.teacher_hidden = found
    return rollouts


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a token that ends inside a character adds it later."""
    texts = [tokenizer.decode(ids[: end + 1]) for end in range(len(ids))]
    whole = [text.rstrip("\ufffd") for text in texts]
    before = ["", *whole][: len(whole)]
    return [now[len(then) :] for then, now in zip(before, whole, strict=True)]


def uld(weight: float, by_name: float) -> Objective:
    """-log q(y) + weight * distance of the two distributions, where they can be compared."""
    if weight < 0 or by_name not in (0, 1):
        raise UsageError(
            f"weight must not be negative and by_name 0 or 1, got {weight:g} and {by_name:g}."
        )
    return Objective(
        name="uld", on_batch=functools.partial(_on_batch, weight=weight, by_name=bool(by_name))
    )


def _on_batch(scored: Scored, *, weight: float, by_name: bool) -> tuple[Tensor, Tensor, Tensor]:
    both = tokenizers_of(scored.teacher)
    names = _named(both, scored) if by_name else None
    head = scored.teacher_head
    states = scored.teacher_hidden
    seen = scored
    if both is not None:
        head = Projection.of(scored.teacher, min(len(both[1]), _rows(scored.teacher)))
        # the student stands in for the teacher, whose ids mean something else
        seen = dataclasses.replace(
            scored,
            teacher_hidden=scored.student_hidden.detach(),
            teacher_head=scored.student_head,
            teacher_nll=None,
        )

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        nll = -student.gather(-1, scored.ids[rows, None]).squeeze(-1)
        there = ~states[rows].isnan().any(-1)
        with torch.no_grad():
            if both is not None:
                logits = head.logits(states[rows].nan_to_num())
                teacher = torch.log_softmax(logits / scored.temperature, -1)
            p = teacher.exp()
        q = student.exp()
        apart = named_distance(q, p, *names) if names is not None else sorted_distance(q, p)
        return nll + weight * apart * there.to(apart)

    return seen.nats(of_chunk)


def _rows(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _named(both: Any, scored: Scored) -> tuple[Tensor, Tensor]:
    """Ids of the tokens that both know, the student's and the teacher's."""
    device = scored.ids.device
    if both is None:
        every = torch.arange(scored.student_head.size, device=device)
        return every, every
    mine, theirs = (tokenizer.get_vocab() for tokenizer in both)
    limits = scored.student_head.size, min(len(both[1]), _rows(scored.teacher))
    known = sorted(
        (i, theirs[name])
        for name, i in mine.items()
        if i < limits[0] and theirs.get(name, limits[1]) < limits[1]
    )
    ids = torch.tensor(known, dtype=torch.long, device=device).reshape(-1, 2)
    return ids[:, 0], ids[:, 1]


register_source("retokenised", retokenised)
register(
    ObjectiveRow(
        name="uld",
        make=uld,
        settings=SETTINGS,
        texts=("reference", "teacher"),
        source="after Boizard et al. 2024",
        summary="Cross-entropy, and the distance of the sorted probabilities: needs no common "
        "vocabulary.",
    )
)
register_method(
    Method(
        name="uld",
        completions=("reference", "retokenised"),
        turns="per_prompt",
        second_share=1.0,
        objectives=("uld",),
        load=load_two,
        source="after Boizard et al. 2024",
        summary="References; a teacher with another tokenizer reads them in its own tokens.",
    )
)
register_card(
    Card(
        name="uld",
        elsewhere="No demonstration of its own: the pairs that come with the package share a "
        "tokenizer. Its tests distil a teacher that has another one.",
        group="neighbour",
        title="ULD and GOLD: a teacher with another tokenizer",
        paper="Boizard et al. 2024, arXiv 2402.12030; GOLD in TRL",
        sentences=(
            "Where the vocabularies differ, the probabilities are compared in order of size; "
            "tokens that are spelled the same can be compared by name.",
            "SKD cannot do this: a teacher that does not know the student's tokens cannot accept "
            "or replace one.",
        ),
        equation=r"-\log q(y_t) + 1.5 \sum_i |q_{(i)} - p_{(i)}|",
        statement="It is at most twice the total variation, and 0 for a student whose vocabulary "
        "is permuted: the weakness that comparing by name takes away.",
        control="the same cross-entropy alone (sft, weight = 0)",
        choices=(
            "positions are matched by the text in front of them; ULD's code counts them",
            "of GOLD the comparison by name with one bucket for all other tokens; the merging of "
            "groups of tokens is left out",
            "the teacher reads the prompt with the student's control tokens spelled out",
        ),
        command="skd-lab train --method uld --student FOLDER --teacher OTHER --trace-prompts 0",
    )
)
