"""One loop for every method: prompts -> rollouts -> loss -> update, with records and checkpoints.

What a run writes is described in runs.py; nothing it has written is lost by a failure.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from skd_lab.checkpoints import model_card
from skd_lab.clock import PhaseClock
from skd_lab.config import RunConfig
from skd_lab.decode import decoding
from skd_lab.encode import EncodeReport
from skd_lab.environment import add_session, describe_session
from skd_lab.files import append_jsonl
from skd_lab.halving import LESS_TEXT, with_half
from skd_lab.learner import Learner
from skd_lab.loading import usable_device
from skd_lab.models import Pair
from skd_lab.prepare import Prepared, fingerprint, prepare, prompt_order, saved_config
from skd_lab.processes import lost_processes_said, of_all, start_processes
from skd_lab.progress import Progress
from skd_lab.records import Rollout, StepRecord
from skd_lab.resume import cut_records_back, records_so_far
from skd_lab.sharding import gathered
from skd_lab.stopping import RESUME_CALL, StopRequest, resume_command
from skd_lab.trackers import log_metrics, open_trackers, tracker_names
from skd_lab.watching import evaluate_watched, is_turn, record_watched
from skd_lab.window import measured, window_request, write_in_parts


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
        NoMemoryError: if memory runs out, with half the rows at a time too.
        SkdError: if the disk does not take a record or a checkpoint.
        Stopped: a KeyboardInterrupt that says what was saved. Ctrl-C and SIGTERM end the run after
            the update that is going on; a second one ends it at once.
    """
    tracker_names(config.track)  # before models are loaded
    go_on = RESUME_CALL if pair or data else resume_command(config.run_dir)
    with StopRequest(config.steps, go_on) as stop, lost_processes_said(go_on):
        device = pair.student.device if pair else torch.device(usable_device(config.device))
        accelerator = start_processes(config, device, Path(config.run_dir))
        with decoding(config.decoding, device):
            return _Loop(prepare(config, pair, data), stop, accelerator).run(progress)


class _Loop:
    """The state of one run."""

    def __init__(self, prepared: Prepared, stop: StopRequest, accelerator: Accelerator) -> None:
        self.config, self.pair, self.data = prepared.config, prepared.pair, prepared.data
        self.prepared, self.run_dir, self.stop = prepared, prepared.run_dir, stop
        self.accelerator, self.memory = accelerator, prepared.memory
        config = self.config
        self.learner = Learner(
            config,
            self.pair,
            prepared.objective,
            accelerator,
            self.run_dir,
            self.memory,
            fingerprint(config),
        )
        stop.saved, self.done = self.learner.saved, self.learner.saved or 0
        self.clock = PhaseClock()
        self.texts_at_once = config.batch_size // accelerator.num_processes
        if config.resume and accelerator.is_main_process:
            cut_records_back(self.run_dir, stop.saved)
        self.steps = records_so_far(self.run_dir, self.done)

    def run(self, progress: bool) -> RunResult:
        """All remaining updates, then the student; KeyboardInterrupt if a signal asked for it."""
        config, main = self.config, self.accelerator.is_main_process
        if main:
            device, processes = self.pair.student.device, self.accelerator.num_processes
            session = {**describe_session(self.done, device), "processes": processes}
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
            if self.done == config.steps:
                shown.finish(self.learner.write_student(model_card(saved_config(config))))
        if self._asked_to_stop():
            raise KeyboardInterrupt
        return RunResult(self.run_dir, self.pair.student, self.steps, self.data)

    def _update(self) -> StepRecord:
        """One window of prompts, one optimizer step."""
        began, cpu_began = time.perf_counter(), time.process_time()
        self.clock.reset()
        rollouts = self._rollouts()
        stats = self.learner.gradients(rollouts, self.done, self.clock)
        with self.clock.phase("update"):
            step = self.learner.step(rollouts)
        seconds = time.perf_counter() - began
        phases = ("draft", "verify", "score", "update")
        metrics = {
            **measured(self.accelerator, rollouts, stats),
            **step,
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
        request = window_request(
            config,
            pair,
            [self.data.encoded[i] for i in order],
            first_row=first,
            done=self.done,
            keep_teacher_hidden=self.learner.scorer is not None,
            clock=self.clock,
            settings=self.prepared.settings,
            memory=self.memory,
        )

        def write(rows: int) -> list[Rollout]:
            return write_in_parts(
                lambda part: self.prepared.method.write(part, self.prepared.share), request, rows
            )

        with self.accelerator.autocast(), gathered(self.learner.module):
            rollouts, self.texts_at_once = with_half(
                write, self.texts_at_once, f"the texts of update {self.done + 1}", LESS_TEXT
            )
        return rollouts

    def _observe(self) -> None:
        """Record the watched prompts and evaluate, when their turn has come."""
        config, watched, done = self.config, self.prepared.watched, self.done
        trace = config.trace_prompts > 0 and is_turn(config.trace_every, done, config.steps)
        score = is_turn(config.eval_every, done, config.steps)
        if not watched or not (trace or score):
            return
        divergence = None
        with gathered(self.learner.module):
            if self.accelerator.is_main_process:
                seen = config, self.pair, watched, self.run_dir, done
                if trace:
                    record_watched(*seen)
                if score:
                    report = evaluate_watched(*seen, self.prepared.task, self.accelerator)
                    divergence = report.kl_references
        if score:
            self.memory["kl_references"] = of_all(divergence)[0]

    def _save(self) -> None:
        """A checkpoint of the updates done, unless there is one of them."""
        self.learner.save(self.done)
        self.stop.saved = self.learner.saved

    def _asked_to_stop(self) -> bool:
        """Whether any process got a signal: all of them stop after the same update."""
        asked = torch.tensor(float(self.stop.number is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)
