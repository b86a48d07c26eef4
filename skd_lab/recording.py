"""Rollouts to trace records: what both models thought at every position, for views and exports.

One teacher-forced forward of each model over the finished text. Sampling never does this; it is
made on request, for the few rollouts somebody will look at.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from skd_lab.acceptance import Block, TopKRule
from skd_lab.batch import collate, completion_hidden
from skd_lab.config import RunConfig
from skd_lab.decode import sampling_mode
from skd_lab.encode import Encoded
from skd_lab.losses import forward_kl
from skd_lab.models import Pair
from skd_lab.projection import Projection
from skd_lab.records import TEACHER, Rollout, Trace
from skd_lab.sampling import SamplingPolicy, draw_uniforms
from skd_lab.speculative import interleaved_rollout
from skd_lab.token_text import TokenText

TOP = 20
"""Most likely ids recorded of each model."""

WATCHED_ROW = 2**40
"""Watched prompts have global rows from here on: numbers that no training row ever uses."""


def record_prompts(
    pair: Pair, prompts: Sequence[Encoded], config: RunConfig, *, step: int = 0, run: str = ""
) -> list[Trace]:
    """Interleaved rollouts of some prompts, recorded; the same numbers at every step of a run.

    Args:
        pair: whose student proposes, as it is now.
        prompts: encoded.
        config: K, gamma, limits, policies and seed.
        step: updates done, for the header.
        run: name of the run, for the header.
    """
    asked: dict[str, Any] = {
        "accept_top_k": config.top_k_at(step),
        "gamma": config.gamma,
        "replacement": config.replacement,
        "variant": config.variant,
        "student_policy": SamplingPolicy(**config.policy("student")),
        "teacher_policy": SamplingPolicy(**config.policy("teacher")),
    }
    uniforms = draw_uniforms(
        config.seed, len(prompts), config.max_new_tokens, first_row=WATCHED_ROW
    )
    rollouts = interleaved_rollout(
        pair.student,
        pair.teacher,
        [row.prompt_ids for row in prompts],
        max_new_tokens=config.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        uniforms=uniforms,
        vocab_size=pair.vocab_size,
        **asked,
    )
    return record_traces(
        pair,
        rollouts,
        uniforms=uniforms,
        seed=config.seed,
        method=config.method,
        run=run,
        step=step,
        **asked,
    )


def record_traces(
    pair: Pair,
    rollouts: Sequence[Rollout],
    *,
    uniforms: Tensor,
    accept_top_k: int | Sequence[int] | None = None,
    gamma: int | str,
    student_policy: SamplingPolicy,
    teacher_policy: SamplingPolicy,
    replacement: str = "teacher_sample",
    variant: str = "paper",
    rule: Literal["top_k", "lossless"] = "top_k",
    seed: int,
    student: PreTrainedModel | None = None,
    method: str = "skd",
    run: str = "",
    step: int = 0,
) -> list[Trace]:
    """Full trace records of rollouts (schema skd-trace/1).

    Args:
        pair: tokenizer, teacher, names.
        rollouts: in the order of the uniforms' rows, from any source. Where nothing was proposed
            (a text by one hand, a bonus token) the proposal is empty and its rank is 0.
        uniforms: [2, rows, tokens], the numbers the rollouts were drawn with.
        accept_top_k, gamma, student_policy, teacher_policy, replacement, variant, seed: as the
            rollouts were asked for; they go into the header. accept_top_k may be left out where
            no K decided (then the header has null).
        rule: "lossless" for speculative_rollout's.
        student: who proposed; the pair's own if None.
        method, run, step: for the header.

    Returns:
        One trace a rollout. Probabilities are of the raw models at temperature 1; teacher_draw is
        what a refused proposal would become at every position, refused or not: that is what makes
        re-deciding at another K possible without a model (rule "top_k", variant "paper", and a
        replacement by the teacher).
    """
    student = pair.student if student is None else student
    judge = TopKRule(
        pair.vocab_size if accept_top_k is None else accept_top_k,
        student_policy=student_policy,
        teacher_policy=teacher_policy,
        replacement=replacement,
        variant=variant,
    )
    known = judge.top_k[0] if len(set(judge.top_k)) == 1 else judge.top_k
    traces = []
    with sampling_mode(student, pair.teacher):
        for row, rollout in enumerate(rollouts):
            header = {
                "schema": "skd-trace/1",
                "run": run,
                "step": step,
                "row": rollout.row,
                "prompt": pair.tokenizer.decode(rollout.prompt_ids),
                "prompt_ids": rollout.prompt_ids,
                "completion": pair.tokenizer.decode(
                    rollout.completion_ids, skip_special_tokens=True
                ),
                "rule": rule,
                "accept_top_k": None if accept_top_k is None else known,
                "gamma": gamma,
                "policies": {
                    "student": vars(judge.proposal_policy),
                    "teacher": vars(teacher_policy),
                    "replacement": replacement,
                    "variant": variant,
                },
                "student": pair.names["student"],
                "teacher": pair.names["teacher"],
                "tokenizer": type(pair.tokenizer).__name__,
                "vocab_size": pair.vocab_size,
                "seed": seed,
                "method": method,
                "finished": rollout.finished,
            }
            seen = _look(pair, student, rollout, uniforms[:, row], judge)
            traces.append(Trace(header=header, tokens=_tokens(pair, rollout, seen)))
    return traces


def _look(
    pair: Pair,
    student: PreTrainedModel,
    rollout: Rollout,
    uniforms: Tensor,
    rule: TopKRule,
) -> dict[str, Any]:
    """Both models' distributions at every completion token, reduced to what a record holds."""
    batch = collate([rollout], pair.pad_token_id).to(student.device)
    logits = {
        role: Projection.of(model, pair.vocab_size).logits(completion_hidden(model, batch))
        for role, model in (("student", student), ("teacher", pair.teacher))
    }
    log_probs = {role: values.log_softmax(dim=-1) for role, values in logits.items()}
    draws = rule.replacement(_as_block(rollout, uniforms, logits))[0].cpu()
    # the draw that was used is the one on record, should this forward round differently
    replaced = torch.tensor([source == TEACHER for source in rollout.trace.source])
    draws = torch.where(replaced, rollout.completion_ids, draws)
    kl = forward_kl(log_probs["student"], log_probs["teacher"]).cpu()
    probs = {role: values.exp().cpu() for role, values in log_probs.items()}
    entropy = {
        role: -(values * values.log().clamp(min=-1e4)).sum(dim=-1) for role, values in probs.items()
    }
    top = {role: values.topk(min(TOP, values.shape[-1])) for role, values in probs.items()}
    return {
        "draws": draws.tolist(),
        "kl": kl.tolist(),
        "probs": probs,
        "top": top,
        "entropy": {role: values.tolist() for role, values in entropy.items()},
        "uniforms": uniforms.tolist(),
    }


def _as_block(rollout: Rollout, uniforms: Tensor, logits: Mapping[str, Tensor]) -> Block:
    """A finished text as one block, so that its rule can be asked about every position."""
    length, device = len(rollout.completion_ids), logits["teacher"].device
    return Block(
        # where nothing was proposed any id will do: no decision is taken there
        proposals=rollout.trace.proposed_id[None].clamp(min=0).to(device),
        student_logits=logits["student"][None],
        teacher_logits=logits["teacher"][None],
        places=torch.arange(length, device=device)[None],
        uniforms=uniforms[:, None, :length].to(device),
    )


def _tokens(pair: Pair, rollout: Rollout, seen: dict[str, Any]) -> list[dict[str, Any]]:
    text, trace, probs = TokenText(pair.tokenizer), rollout.trace, seen["probs"]
    records = []
    for i, kept in enumerate(rollout.completion_ids.tolist()):
        proposed, draw = int(trace.proposed_id[i]), seen["draws"][i]
        records.append(
            {
                "i": i,
                "source": trace.source[i],
                "kept_id": kept,
                "kept": text.of(kept),
                "kept_bytes": text.bytes_of(kept).hex(),
                "proposed_id": proposed,
                "proposed": text.of(proposed) if proposed >= 0 else "",
                "proposed_bytes": text.bytes_of(proposed).hex() if proposed >= 0 else "",
                "block": int(trace.block[i]),
                "teacher_rank": int(trace.teacher_rank[i]),
                "p_student": float(probs["student"][i, kept]),
                "p_teacher": float(probs["teacher"][i, kept]),
                **{
                    f"proposed_p_{role}": float(values[i, proposed]) if proposed >= 0 else None
                    for role, values in probs.items()
                },
                "u_student": seen["uniforms"][0][i],
                "u_teacher": seen["uniforms"][1][i],
                "teacher_draw": {
                    "id": draw,
                    "text": text.of(draw),
                    "p": float(probs["teacher"][i, draw]),
                },
                **{
                    f"{role}_top": [
                        [token, text.of(token), p]
                        for token, p in zip(
                            seen["top"][role].indices[i].tolist(),
                            seen["top"][role].values[i].tolist(),
                            strict=True,
                        )
                    ]
                    for role in ("student", "teacher")
                },
                **{f"entropy_{role}": seen["entropy"][role][i] for role in ("student", "teacher")},
                "kl": seen["kl"][i],
                "discarded": [[token, text.of(token)] for token in trace.discarded[i]],
            }
        )
    return records
