"""MiniLLM: reverse KL over sequences by policy gradient (Gu et al. 2024, arXiv 2306.08543).

Text is drawn from a mix of both models, so that the student cannot find its way to empty rewards;
each token answers for what comes behind it, by how likely the teacher finds that.
"""

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from skd_lab.decode import check_request, sampling_mode
from skd_lab.decoders import make_decoder
from skd_lab.errors import UsageError
from skd_lab.family.card import Card, register_card
from skd_lab.family.policy_gradient import surrogate
from skd_lab.ledger import Ledger
from skd_lab.losses import reverse_kl
from skd_lab.methods import Method
from skd_lab.methods import register as register_method
from skd_lab.objectives import Objective, ObjectiveRow, register
from skd_lab.records import Rollout
from skd_lab.sampling import sample, token_log_probs
from skd_lab.scored import Scored
from skd_lab.sources import RolloutRequest
from skd_lab.sources import register as register_source

SETTINGS = {"teacher_share": 0.2}
"""The teacher's weight in the mix that is drawn from; the paper's."""


def mixed_rollout(request: RolloutRequest) -> list[Rollout]:
    """Completions drawn from teacher_share * p + (1 - teacher_share) * q, token by token."""
    share = request.settings["teacher_share"]
    student, teacher = request.student, request.teacher
    uniforms = request.uniforms[0]
    check_request([student, teacher], request.prompt_ids, request.max_new_tokens, uniforms)
    uniforms = uniforms.to(student.device)
    with sampling_mode(student, teacher), request.clock.phase("draft"):
        ledger = Ledger(
            request.prompt_ids, request.max_new_tokens, request.eos_token_ids, 0, student.device
        )
        decoders = [
            make_decoder(
                model,
                request.prompt_ids,
                max_new_tokens=request.max_new_tokens,
                vocab_size=request.vocab_size,
                keep_hidden=model is teacher and request.keep_teacher_hidden,
            )
            for model in (student, teacher)
        ]
        going = True
        while going:
            rows, fed = ledger.active, ledger.last[ledger.active, None]
            mine, _ = decoders[0].feed(fed, ledger.position())
            theirs, hidden = decoders[1].feed(fed.to(teacher.device), ledger.position())
            theirs = theirs.to(mine.device)
            mixed = mix(mine[:, 0], theirs[:, 0], share)
            ids = sample(mixed, request.student_policy, uniforms[rows, ledger.length[rows]])
            ids = ids[:, None]
            ledger.write(
                torch.ones_like(rows),
                teacher_hidden=hidden,
                kept_id=ids,
                proposed_id=ids,
                student_log_prob=token_log_probs(mine, ids),
                teacher_log_prob=token_log_probs(theirs, ids),
            )
            going = ledger.leave(decoders)
        return ledger.rollouts()


def mix(student: Tensor, teacher: Tensor, share: float) -> Tensor:
    """Logits of share * p + (1 - share) * q, from two models' logits; the student's own at 0."""
    if share == 0:
        return student
    dtype = torch.promote_types(student.dtype, torch.float32)
    log_q, log_p = (torch.log_softmax(logits.to(dtype), -1) for logits in (student, teacher))
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


def future(
    rewards: Float[Tensor, " tokens"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " tokens"]:
    """Sum of the rewards behind each token, over the number of tokens from it on.

    Without that division long texts would be punished for their length.
    """
    found = []
    for own in rewards.split(lengths.tolist()):
        behind = own.flip(0).cumsum(0).flip(0) - own
        found.append(behind / torch.arange(len(own), 0, -1, device=own.device))
    return torch.cat(found)


def minillm(teacher_share: float) -> Objective:
    """Reverse KL of the next token, exactly, and of all later ones by policy gradient."""
    if not 0 <= teacher_share < 1:
        raise UsageError(f"teacher_share must be in [0, 1), got {teacher_share:g}. Use 0.2.")
    return Objective(name="minillm", on_batch=functools.partial(_on_batch, share=teacher_share))


def _on_batch(scored: Scored, *, share: float) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        log_q, log_p = scored.of_ids()
        advantage = future(log_p - log_q, scored.batch.lengths)
        # drawn from the mix, counted as if drawn from the student
        mixed = log_q
        if share:
            mixed = torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))
        advantage = advantage * torch.exp(log_q - mixed)

    def of_chunk(student: Tensor, teacher: Tensor, rows: slice) -> Tensor:
        own = student.gather(-1, scored.ids[rows, None]).squeeze(-1)
        return reverse_kl(student, teacher) + surrogate(own, advantage[rows].to(own))

    return scored.nats(of_chunk)


register_source("teacher_mixed", mixed_rollout)
register(
    ObjectiveRow(
        name="minillm",
        make=minillm,
        settings=SETTINGS,
        texts=("teacher_mixed",),
        source="Gu et al. 2024",
        summary="Reverse KL over sequences: exact for the next token, policy gradient behind it.",
    )
)
register_method(
    Method(
        name="minillm",
        completions=("teacher_mixed",),
        objectives=("minillm",),
        settings=SETTINGS,
        source="after Gu et al. 2024",
        summary="Samples of a mix of both models; sequence-level reverse KL by policy gradient.",
    )
)
register_card(
    Card(
        name="minillm",
        group="neighbour",
        title="MiniLLM: reverse KL over whole texts",
        paper="Gu, Dong, Wei, Huang 2024, arXiv 2306.08543",
        sentences=(
            "Every token is judged by what the teacher thinks of the text behind it, by policy "
            "gradient, on text drawn from 0.2 teacher + 0.8 student.",
            "Both mix the two models in one text: MiniLLM by chance at every token, SKD where the "
            "teacher would not have said it.",
        ),
        equation=r"KL(q_t\|p_t) - w_t A_t \log q_t(y_t),\quad "
        r"A_t = \tfrac{1}{T-t}\sum_{t' > t} \log\frac{p_{t'}}{q_{t'}},\quad "
        r"w_t = \frac{q_t}{0.2 p_t + 0.8 q_t}",
        statement="With a share of 0 the text is the student's own, token for token; equal models "
        "have no gradient.",
        control="on_policy_kd with reverse_kl: the same without the look ahead",
        choices=(
            "one update a rollout: no PPO epochs, no clipping of the ratio, no whitening",
            "no language-model loss on pretraining text beside it",
        ),
        command="skd-lab train --method minillm --settings teacher_share=0.2",
    )
)
