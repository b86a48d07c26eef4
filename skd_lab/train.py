"""One loop for every method: prompts -> rollouts -> loss -> update, with records and checkpoints.

What a run writes is described in runs.py; nothing it has written is lost by a failure.
"""

import contextlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from transformers import PreTrainedModel, get_scheduler

from skd_lab.checkpoints import model_card, save_checkpoint, save_student
from skd_lab.clock import PhaseClock
from skd_lab.config import RunConfig
from skd_lab.dropout import keyed_dropout
from skd_lab.encode import EncodeReport
from skd_lab.environment import add_session, describe_session
from skd_lab.errors import NonFiniteLossError, UsageError
from skd_lab.evaluate import evaluate
from skd_lab.files import append_jsonl
from skd_lab.metrics import acceptance_rate, replacement_rate
from skd_lab.models import Pair
from skd_lab.prepare import Prepared, prepare, prompt_order, saved_config
from skd_lab.progress import Progress
from skd_lab.recording import record_prompts
from skd_lab.records import Rollout, StepRecord, write_traces
from skd_lab.resume import cut_records_back, load_newest, records_so_far
from skd_lab.sampling import SamplingPolicy, draw_uniforms, mixing_uniforms
from skd_lab.sources import RolloutRequest
from skd_lab.step import StudentLoss, WindowStats, accumulate_gradients, parameter_groups
from skd_lab.stopping import RESUME_CALL, StopRequest, resume_command
from skd_lab.trackers import log_metrics, open_trackers, scores, tracker_names, tracking


@dataclass(frozen=True)
class RunResult:
    """What train returns."""

    run_dir: Path
    student: PreTrainedModel
    steps: list[StepRecord]
    data: EncodeReport


def train(
    config: RunConfig,
    *,
    pair: Pair | None = None,
    data: EncodeReport | None = None,
    progress: bool = True,
) -> RunResult:
    """Distil a student and write the run folder.

    Args:
        config: everything that decides the run; saved with it.
        pair: models in hand; the config's own are loaded if None. Its student is trained in place.
        data: encoded training prompts in hand; the task's own are loaded if None.
        progress: show a bar, or lines where there is no terminal.

    Returns:
        The trained student and the step records, as also written to config.run_dir.

    Raises:
        UsageError: for anything that cannot be, before the first update.
        NonFiniteLossError: if the loss or the gradient is not finite; the last checkpoint stays.
        SkdError: if the disk does not take a record or a checkpoint.
        Stopped: a KeyboardInterrupt that says what was saved. Ctrl-C and SIGTERM end the run after
            the update that is going on; a second one ends it at once.
    """
    tracker_names(config.track)  # before models are loaded
    go_on = RESUME_CALL if pair or data else resume_command(config.run_dir)
    with StopRequest(config.steps, go_on) as stop:
        return _Loop(prepare(config, pair, data), stop).run(progress)


class _Loop:
    """The state of one run."""

    def __init__(self, prepared: Prepared, stop: StopRequest) -> None:
        self.config, self.pair, self.data = prepared.config, prepared.pair, prepared.data
        self.prepared, self.run_dir, self.stop = prepared, prepared.run_dir, stop
        config, student = self.config, self.pair.student
        # accelerate keeps its state for the whole process, and another run may want another one
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        self.accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            cpu=student.device.type == "cpu",
            **tracking(config.track, self.run_dir),
        )
        if config.batch_size % self.accelerator.num_processes:
            raise UsageError(
                f"--batch-size {config.batch_size} does not divide by the "
                f"{self.accelerator.num_processes} processes. Use a multiple."
            )
        self.pair.teacher.requires_grad_(False)
        self.scorer = self.pair.teacher if prepared.objective.asks_teacher else None
        self.optimizer = torch.optim.AdamW(
            parameter_groups(student, config.weight_decay), lr=config.learning_rate
        )
        self.schedule = get_scheduler(
            config.lr_schedule,
            self.optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=config.steps,
        )
        if config.resume:
            stop.saved = load_newest(self.run_dir, student, self.schedule, config.dtype)
        self.done = stop.saved or 0
        self.module: nn.Module = self.accelerator.prepare(
            StudentLoss(
                student,
                prepared.objective,
                self.scorer,
                self.pair.vocab_size,
                config.loss_temperature,
                prepared.memory,
            )
        )
        self.clock = PhaseClock()
        if config.resume and self.accelerator.is_main_process:
            cut_records_back(self.run_dir, stop.saved)
        self.steps = records_so_far(self.run_dir, self.done)

    def run(self, progress: bool) -> RunResult:
        """All remaining updates, then the student; KeyboardInterrupt if a signal asked for it."""
        config, main = self.config, self.accelerator.is_main_process
        if main:
            session = describe_session(self.done, self.pair.student.device)
            add_session(self.run_dir, session, resumed=config.resume)
        self.stop.done, self.stop.patient = self.done, True
        shown = Progress(config, self.data, self.done, shown=progress and main)
        with (
            contextlib.closing(shown),
            open_trackers(self.accelerator, saved_config(config), self.run_dir, self.done),
        ):
            if self.done == 0:
                self._observe()
            while self.done < config.steps and not self._asked_to_stop():
                record = self._update()
                self.done = self.stop.done = self.done + 1
                self.steps.append(record)
                if main:
                    line = {"step": record.step, **record.metrics}
                    append_jsonl(self.run_dir / "steps.jsonl", line)
                log_metrics(self.accelerator, "train", record.metrics, self.done)
                shown.update(record.metrics)
                self._observe()
                if self.done % config.save_every == 0 or self.done == config.steps:
                    self._save()
            self._save()  # where it was asked to stop
            if self.done == config.steps and main:
                card = model_card(saved_config(config))
                student = self.run_dir / "student"
                save_student(student, self.pair.student, self.pair.tokenizer, card)
                shown.finish(student)
        if self._asked_to_stop():
            raise KeyboardInterrupt
        return RunResult(self.run_dir, self.pair.student, self.steps, self.data)

    def _update(self) -> StepRecord:
        """One window of prompts, one optimizer step."""
        config, began, cpu_began = self.config, time.perf_counter(), time.process_time()
        self.clock.reset()
        self.module.train()
        rollouts = self._rollouts()
        self.optimizer.zero_grad(set_to_none=True)
        draws = (config.seed, self.done, self.accelerator.process_index)
        with keyed_dropout(self.accelerator.device, *draws):
            stats = accumulate_gradients(
                self.accelerator,
                self.module,
                rollouts,
                teacher=self.scorer,
                pad_id=self.pair.pad_token_id,
                reduction=config.reduction,
                microbatch_size=config.microbatch_size or len(rollouts),
                clock=self.clock,
            )
        with self.clock.phase("update"):
            norm = float(
                self.accelerator.clip_grad_norm_(self.module.parameters(), config.max_grad_norm)
            )
            if not math.isfinite(norm):
                raise NonFiniteLossError(
                    f"The gradient became {norm} at update {self.done + 1}, rows "
                    f"{rollouts[0].row} to {rollouts[-1].row}; nothing was changed by it. Lower "
                    "the learning rate and go on from the last checkpoint with --resume."
                )
            rate = self.schedule.get_last_lr()[0]
            self.optimizer.step()
            self.schedule.step()
        seconds = time.perf_counter() - began
        phases = ("draft", "verify", "score", "update")
        metrics = {
            **_measured(rollouts, stats),
            "grad_norm": norm,
            "lr": rate,
            "tokens_per_second": stats.tokens / seconds,
            **{f"seconds_{name}": self.clock.seconds.get(name, 0.0) for name in phases},
            "cpu_seconds": time.process_time() - cpu_began,
        }
        return StepRecord(self.done + 1, metrics)

    def _rollouts(self) -> list[Rollout]:
        """This process' share of the window's completions."""
        config, pair = self.config, self.pair
        share = config.batch_size // self.accelerator.num_processes
        first = self.done * config.batch_size + self.accelerator.process_index * share
        order = prompt_order(len(self.data.encoded), range(first, first + share), config.seed)
        chosen = [self.data.encoded[i] for i in order]
        request = RolloutRequest(
            student=pair.student,
            teacher=pair.teacher,
            prompt_ids=[row.prompt_ids for row in chosen],
            reference_ids=[row.reference_ids for row in chosen],
            rows=range(first, first + share),
            mixing=mixing_uniforms(config.seed, share, first_row=first),
            progress=self.done / config.steps,
            accept_top_k=config.top_k_at(self.done),
            gamma=config.gamma,
            replacement=config.replacement,
            variant=config.variant,
            max_new_tokens=config.max_new_tokens,
            eos_token_ids=pair.eos_token_ids,
            student_policy=SamplingPolicy(**config.policy("student")),
            teacher_policy=SamplingPolicy(**config.policy("teacher")),
            uniforms=draw_uniforms(config.seed, share, config.max_new_tokens, first_row=first),
            vocab_size=pair.vocab_size,
            keep_teacher_hidden=self.scorer is not None,
            clock=self.clock,
            settings=self.prepared.settings,
            memory=self.prepared.memory,
        )
        with self.accelerator.autocast():
            return self.prepared.method.write(request, self.prepared.share)

    def _observe(self) -> None:
        """Record the watched prompts and evaluate, when their turn has come."""
        config, watched, done = self.config, self.prepared.watched, self.done
        if not watched or not self.accelerator.is_main_process:
            return
        last = done == config.steps
        if config.trace_prompts and (last or done % config.trace_every == 0):
            chosen = watched[: config.trace_prompts]
            traces = record_prompts(self.pair, chosen, config, step=done, run=self.run_dir.name)
            write_traces(self.run_dir / "traces.ndjson", traces, append=True)
        if config.eval_every and (last or done % config.eval_every == 0):
            report = evaluate(
                self.pair,
                self.prepared.task,
                watched[: config.eval_prompts],
                max_new_tokens=config.max_new_tokens,
                accept_top_k=config.top_k_at(done),
                gamma=config.gamma,
                seed=config.seed,
                name=f"step {done}",
            )
            append_jsonl(self.run_dir / "eval.jsonl", {"step": done, **vars(report)})
            self.prepared.memory["kl_references"] = report.kl_references
            log_metrics(self.accelerator, "eval", scores(report), done)

    def _save(self) -> None:
        """A checkpoint of the updates done, unless there is one of them."""
        if self.done == (self.stop.saved or 0):
            return
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.run_dir / "checkpoints",
                self.done,
                self.pair.student,
                self.pair.tokenizer,
                self.optimizer,
                keep=self.config.keep_checkpoints,
            )
        self.stop.saved = self.done

    def _asked_to_stop(self) -> bool:
        """Whether any process got a signal: all of them stop after the same update."""
        asked = torch.tensor(float(self.stop.number is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)


def _measured(rollouts: list[Rollout], stats: WindowStats) -> dict[str, float]:
    verified = sum(rollout.verified for rollout in rollouts) > 0
    return {
        "loss": stats.loss,
        "replacement_rate": replacement_rate(rollouts) if verified else math.nan,
        "acceptance_rate": acceptance_rate(rollouts) if verified else math.nan,
        "completion_tokens": stats.tokens,
        "mean_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
        "finished": sum(r.finished for r in rollouts) / len(rollouts),
        "student_entropy": stats.student_entropy,
        "teacher_nll": stats.teacher_nll,
    }
