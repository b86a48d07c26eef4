"""Parity with TRL 1.16, where TRL is installed: the same divergence, the same update.

Equal: the generalized JSD inside (0, 1), with our beta and theirs both the teacher's weight; their
DistillationTrainer's loss and weights, update by update, on the same text, models, optimizer and
accumulation window (the mean over the window's completion tokens, theirs by num_items_in_batch).

Not equal, and not meant to be: the end points of beta, which are the two KLs there and refused
here; who writes the text, since theirs samples from the student alone (here that one method of
their trainer gives fixed completions, all else of `train()` runs); their defaults (reverse KL,
learning rate 1e-6, bfloat16, gradient checkpointing); the side of padding, which moves float32 sums
by round-off.
"""

import pytest
import torch
from accelerate import Accelerator

import skd_lab as skd
from skd_lab.clock import PhaseClock
from skd_lab.errors import UsageError
from skd_lab.losses import forward_kl, generalized_jsd, reverse_kl
from skd_lab.models import Pair
from skd_lab.objectives import get_objective
from skd_lab.optimizers import parameter_groups
from skd_lab.records import Rollout
from skd_lab.rollout import reference_rollout
from skd_lab.step import StudentLoss, accumulate_gradients

pytest.importorskip("trl", reason="trl is not installed")

BETAS = [0.1, 0.3, 0.5, 0.9]
VOCABULARY = 50


def their_jsd():
    return pytest.importorskip("trl.experimental.gkd").GKDTrainer.generalized_jsd_loss


def logits(dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's and teacher's logits [2, 7, VOCABULARY]."""
    generator = torch.Generator().manual_seed(seed)
    both = 3 * torch.randn(2, 2, 7, VOCABULARY, dtype=dtype, generator=generator)
    return both[0].requires_grad_(), both[1]


def ours_and_theirs(student, teacher, labels, beta, ours):
    """(loss, gradient of the student's logits) by our divergence and by theirs."""
    found = []
    kept = torch.ones(2, 7, dtype=torch.bool) if labels is None else labels != -100
    nats = ours(student.log_softmax(-1)[kept], teacher.log_softmax(-1)[kept])
    for loss in (nats.mean(), their_jsd()(student, teacher, labels=labels, beta=beta)):
        if labels is None and len(found) == 1:
            loss = loss * 2 / 14  # theirs divides by rows where nothing is masked
        found.append((loss, torch.autograd.grad(loss, student)[0]))
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("beta", BETAS)
def test_the_generalized_jsd_is_theirs_in_value_and_gradient(beta, dtype, masked):
    student, teacher = logits(dtype, seed=3)
    labels = torch.full((2, 7), 1)
    labels[0, :3], labels[1, 5:] = -100, -100
    (ours, our_slope), (theirs, their_slope) = ours_and_theirs(
        student,
        teacher,
        labels if masked else None,
        beta,
        lambda q, p: generalized_jsd(q, p, beta),
    )
    assert ours.item() > 0.01
    # theirs keeps beta as a tensor of the logits' type, ours as a double: float32 differs by that
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(our_slope, their_slope, atol=1e-6, rtol=1e-6)
    if masked:
        assert our_slope[labels == -100].abs().max() == 0


@pytest.mark.parametrize(("beta", "named"), [(0, forward_kl), (1, reverse_kl)])
def test_their_end_points_of_beta_are_our_two_kls(beta, named):
    student, teacher = logits(torch.float64, seed=5)
    labels = torch.full((2, 7), 1)
    (ours, our_slope), (theirs, their_slope) = ours_and_theirs(
        student, teacher, labels, beta, named
    )
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(our_slope, their_slope, atol=1e-12, rtol=1e-12)


def test_their_jsd_vanishes_towards_the_end_points_and_jumps_there():
    student, teacher = logits(torch.float64, seed=5)
    labels = torch.full((2, 7), 1)
    near, at = (their_jsd()(student, teacher, labels=labels, beta=b).item() for b in (1e-3, 0))
    assert near < 0.01 * at
    with pytest.raises(UsageError, match="beta must be in"):
        generalized_jsd(student.log_softmax(-1), teacher.log_softmax(-1), 0)


RATE, UPDATES, WINDOW = 1e-3, 4, 4


@pytest.fixture(scope="module")
def examples():
    return skd.get_task("summaries").load("train", n=WINDOW * UPDATES)


@pytest.mark.parametrize(
    ("objective", "beta", "accumulation"),
    [
        ("forward_kl", 0.0, 1),
        ("reverse_kl", 1.0, 1),
        ("generalized_jsd", 0.3, 1),
        ("generalized_jsd", 0.3, 2),
    ],
)
def test_losses_and_weights_of_their_trainer_update_by_update(
    examples, tmp_path, objective, beta, accumulation
):
    theirs, our_pair = skd.load_pair("tiny-qwen3"), skd.load_pair("tiny-qwen3")
    start = {name: value.clone() for name, value in our_pair.student.state_dict().items()}
    windows, their_losses = train_with_trl(theirs, examples, beta, accumulation, tmp_path)
    assert len(windows) == len(their_losses) == UPDATES
    our_losses = train_here(our_pair, windows, objective, beta, WINDOW // accumulation)
    assert max(our_losses) > 0.01
    # the same float32 terms summed in another order: 2e-5 relative was seen, for the reverse KL
    assert our_losses == pytest.approx(their_losses, rel=1e-4)
    ours, began, others = (
        torch.cat([value.flatten() for value in weights.values()])
        for weights in (our_pair.student.state_dict(), start, theirs.student.state_dict())
    )
    moved, apart = (ours - began).abs(), (ours - others).abs()
    # every update moves a weight by about the learning rate; apart are they by round-off alone.
    # The quantile, not the largest: AdamW divides by the gradient's own size, so where a gradient
    # is all but 0 its round-off becomes a step
    assert moved.mean() > RATE
    assert apart.mean() < 5e-4 * moved.mean()
    assert apart.quantile(0.99) < 0.02 * RATE


def train_with_trl(pair: Pair, examples, beta: float, accumulation: int, folder):
    """Their trainer on fixed completions.

    Returns:
        Of each update the (prompt ids, completion ids) it saw, and its loss.
    """
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    encoded = skd.encode_examples(pair.tokenizer, examples, max_prompt_tokens=1024).encoded
    by_prompt = {tuple(row.prompt_ids): row.reference_ids for row in encoded}
    windows, losses = [], []

    class FixedText(trl.DistillationTrainer):
        def _generate_single_turn(self, prompt_ids, *_):
            completions = [by_prompt[tuple(ids)] for ids in prompt_ids]
            windows.append(list(zip(prompt_ids, completions, strict=True)))
            return completions

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            losses.append(loss.item())
            return loss

    settings = trl.DistillationConfig(
        output_dir=str(folder),
        max_steps=UPDATES,
        per_device_train_batch_size=WINDOW // accumulation,
        gradient_accumulation_steps=accumulation,
        beta=beta,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=0,
    )
    prompts = [{"prompt": row.example.messages} for row in encoded]
    FixedText(
        model=pair.student,
        teacher_model=pair.teacher,
        args=settings,
        train_dataset=datasets.Dataset.from_list(prompts),
        processing_class=pair.tokenizer,
    ).train()
    per_update = [losses[n : n + accumulation] for n in range(0, len(losses), accumulation)]
    return windows, [sum(parts) for parts in per_update]


def train_here(pair: Pair, windows, objective: str, beta: float, microbatch_size: int):
    """Our step on the same windows; returns the loss of each update."""
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(parameter_groups(pair.student, 0.0), lr=RATE)
    weight = {"beta": beta} if objective == "generalized_jsd" else {}
    kind = get_objective(objective, **weight)
    module = accelerator.prepare(StudentLoss(pair.student, kind, pair.teacher, pair.vocab_size))
    module.train()
    losses = []
    for window in windows:
        prompts, completions = zip(*window, strict=True)
        rollouts: list[Rollout] = reference_rollout(prompts, completions, pair.eos_token_ids)
        optimizer.zero_grad(set_to_none=True)
        stats = accumulate_gradients(
            accelerator,
            module,
            rollouts,
            teacher=pair.teacher,
            pad_id=pair.pad_token_id,
            reduction="mean_over_tokens",
            microbatch_size=microbatch_size,
            clock=PhaseClock(),
        )
        accelerator.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(stats.loss)
    return losses


def test_their_sft_trainer_takes_a_rollout_as_token_ids(examples, tmp_path):
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    pair = skd.load_pair("tiny-qwen3")
    encoded = skd.encode_examples(pair.tokenizer, examples[:WINDOW], max_prompt_tokens=1024).encoded
    plain = skd.SamplingPolicy(temperature=1.0)
    rollouts = skd.interleaved_rollout(
        pair.student,
        pair.teacher,
        [row.prompt_ids for row in encoded],
        accept_top_k=3,
        gamma=4,
        max_new_tokens=64,
        eos_token_ids=pair.eos_token_ids,
        student_policy=plain,
        teacher_policy=plain,
        uniforms=skd.draw_uniforms(seed=0, rows=WINDOW, max_new_tokens=64),
    )
    rows = [
        {
            "input_ids": [*rollout.prompt_ids, *rollout.completion_ids.tolist()],
            "completion_mask": [0] * len(rollout.prompt_ids) + [1] * len(rollout.completion_ids),
        }
        for rollout in rollouts
    ]
    settings = trl.SFTConfig(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=WINDOW,
        completion_only_loss=True,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    # the loss of one step, before it moved a weight: the mean over the completions' tokens
    window = [[(r.prompt_ids, r.completion_ids.tolist()) for r in rollouts]]
    ours = train_here(skd.load_pair("tiny-qwen3"), window, "token_nll", 0.0, WINDOW)
    trainer = trl.SFTTrainer(
        model=pair.student,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=pair.tokenizer,
    )
    trainer.train()
    assert trainer.state.log_history[-1]["train_loss"] == pytest.approx(ours[0], abs=1e-6)
