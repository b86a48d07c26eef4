"""The student in training: its loss, its optimizer, its schedule, and its checkpoints.

What is wrapped for several processes, sharded, scaled for float16 or tried again when memory runs
out is so in here; the loop asks for a gradient, for a step and for a checkpoint.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn
from transformers import get_scheduler

from skd_lab.adapters import has_adapters
from skd_lab.checkpoints import load_scaler, save_checkpoint, save_student
from skd_lab.clock import PhaseClock
from skd_lab.config import RunConfig
from skd_lab.dropout import keyed_dropout
from skd_lab.halving import LESS_MEMORY, with_half
from skd_lab.models import Pair
from skd_lab.objectives import Objective
from skd_lab.optimizers import make_optimizer
from skd_lab.processes import asks_shards, of_all, require_same, uses_deepspeed, wait_for_all
from skd_lab.records import Rollout
from skd_lab.resume import load_progress, load_weights, own_memory
from skd_lab.sharding import blocks, is_sharded, shard, whole, whole_weights
from skd_lab.step import (
    StudentLoss,
    WindowStats,
    accumulate_gradients,
    apply_gradients,
    count_window,
)
from skd_lab.trainable import save_adapter_and_merge


class Learner:
    """A student, and all that changes when it takes a step.

    Args:
        config: of the run; with `resume` it begins at the newest whole checkpoint.
        pair: the models; the student is trained in place.
        objective: what is minimised.
        accelerator: of this process.
        run_dir: has the checkpoints.
        memory: what the method keeps from update to update; a checkpoint's is put into it.
        run: what the run is known by: another one's checkpoints are refused.

    Attributes:
        module: the loss as accelerate prepared it, or sharded.
        scorer: the teacher, if the objective asks it.
        saved: updates that the newest checkpoint holds; None without one.

    Raises:
        UsageError: if there are checkpoints to go on from and all are damaged, or the processes
            find different ones; for an optimizer that cannot be used here.
    """

    def __init__(
        self,
        config: RunConfig,
        pair: Pair,
        objective: Objective,
        accelerator: Accelerator,
        run_dir: Path,
        memory: dict[str, Any],
        run: str | None = None,
    ) -> None:
        self.config, self.pair, self.run_dir = config, pair, run_dir
        self.accelerator, self.memory, self.run = accelerator, memory, run
        student = pair.student
        pair.teacher.requires_grad_(False)
        self.scorer = pair.teacher if objective.asks_teacher else None
        checkpoint, self.saved = None, None
        if config.resume:
            checkpoint, self.saved = load_weights(run_dir, student, config.dtype, run)
        require_same(accelerator, self.saved or 0, run_dir)
        module = StudentLoss(
            student, objective, self.scorer, pair.vocab_size, config.loss_temperature, memory
        )
        if sharded := asks_shards(config, accelerator):
            shard(module, blocks(student), accelerator.device)
        optimizer = make_optimizer(
            student,
            config.optimizer,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.schedule = get_scheduler(
            config.lr_schedule,
            optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.steps,
        )
        if checkpoint is not None and self.saved is not None:
            self._go_on(checkpoint, self.saved)
        self.module: nn.Module
        if sharded:  # evaluation_mode: autocast around the forward, and no second wrapper
            self.module = accelerator.prepare_model(module, evaluation_mode=True)
            self.optimizer = accelerator.prepare_optimizer(optimizer)
        else:  # the optimizer too, or nobody divides the gradients by the scale of float16
            with warnings.catch_warnings():
                # torch 2.13 calls the setting deprecated that accelerate knows alone
                warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
                self.module, self.optimizer = accelerator.prepare(module, optimizer)
        self._rows = config.microbatch_size

    def _go_on(self, checkpoint: Path, step: int) -> None:
        load_progress(checkpoint, step, self.schedule)
        processes = self.accelerator.process_index, self.accelerator.num_processes
        self.memory.update(own_memory(checkpoint, *processes))
        scaler = self.accelerator.scaler
        if scaler is not None and (state := load_scaler(checkpoint)):
            scaler.load_state_dict(state)

    def gradients(self, rollouts: Sequence[Rollout], done: int, clock: PhaseClock) -> WindowStats:
        """The gradient of a window's mean loss; once more with half the rows at a time if memory
        runs out.

        Args:
            rollouts: this process' share of the window.
            done: updates done.
            clock: books the seconds.

        Raises:
            NonFiniteLossError: if the loss is not finite.
            NoMemoryError: if half the rows are too many, too.
        """
        config = self.config
        counts = count_window(self.accelerator, rollouts)

        def accumulate(rows: int) -> WindowStats:
            self.optimizer.zero_grad(set_to_none=True)
            with keyed_dropout(
                self.accelerator.device, config.seed, done, self.accelerator.process_index
            ):
                return accumulate_gradients(
                    self.accelerator,
                    self.module,
                    rollouts,
                    teacher=self.scorer,
                    pad_id=self.pair.pad_token_id,
                    reduction=config.reduction,
                    microbatch_size=rows,
                    clock=clock,
                    counts=counts,
                )

        self.module.train()
        rows = min(self._rows or len(rollouts), len(rollouts))
        if is_sharded(self.module) or uses_deepspeed(self.accelerator):
            # the others wait for parts of this forward, and cannot be told to begin again
            return accumulate(rows)
        stats, self._rows = with_half(accumulate, rows, f"update {done + 1}", LESS_MEMORY)
        return stats

    def step(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """One optimizer step along the gradient: what was measured, and the learning rate.

        Raises:
            NonFiniteLossError: if the gradient is not finite.
        """
        rate = self.schedule.get_last_lr()[0]
        rows = f"rows {rollouts[0].row} to {rollouts[-1].row}"
        measured = apply_gradients(
            self.accelerator, self.module, self.optimizer, self.config.max_grad_norm, rows
        )
        with warnings.catch_warnings():
            # the schedule is a function of the number of updates, skipped ones too
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.schedule.step()
        return {**measured, "lr": rate}

    def save(self, done: int) -> None:
        """A checkpoint of the updates done, unless there is one; all processes call it.

        Under DeepSpeed there is none: its engine keeps the optimizer's state to itself.
        """
        if done == (self.saved or 0) or uses_deepspeed(self.accelerator):
            return
        scaler = self.accelerator.scaler
        kept = {name: value for name, value in self.memory.items() if name != "progress"}
        parts: dict[str, Any] = {
            "optimizer_state": whole(self.optimizer.state_dict()),
            "weights": whole_weights(self.pair.student),
            "memory": of_all(kept),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.run_dir / "checkpoints",
                done,
                self.pair.student,
                self.pair.tokenizer,
                keep=self.config.keep_checkpoints,
                run=self.run,
                **parts,
            )
        self.saved = done

    def write_student(self, card: str) -> Path:
        """The distilled student as a plain folder, adapters merged; all processes call it.

        Args:
            card: Markdown of the model card.

        Returns:
            The folder.
        """
        folder, weights = self.run_dir / "student", whole_weights(self.pair.student)
        if self.accelerator.is_main_process:
            student = self.pair.student
            if has_adapters(student):
                student = save_adapter_and_merge(self.run_dir / "adapter", self.pair, self.config)
            save_student(folder, student, self.pair.tokenizer, card, weights)
        wait_for_all()
        return folder
