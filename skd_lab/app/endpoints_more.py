"""Public endpoints of the tabs Train, Time-lapse, Runs and Learn, for gradio_client."""

import tempfile
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from skd_lab.app import importing, lapse
from skd_lab.app.frame import MODEL, Frame
from skd_lab.app.lessons import CARDS, question
from skd_lab.app.listing import listed, look
from skd_lab.app.tab_runs import import_file
from skd_lab.app.tab_train import read
from skd_lab.errors import SkdError, UsageError
from skd_lab.records import Trace, dumps_traces


def add_more_endpoints(frame: Frame) -> None:
    """Every one has its name here; a wrong wish is answered with a sentence."""
    _training(frame)
    _runs(frame)
    _lapse(frame)

    def lessons() -> list[dict]:
        """The questions of the Learn tab with their answers, as the records have them."""
        rows = []
        for card in CARDS:
            asked = question(card)
            choices = list(asked.choices)
            found = {"question": asked.words, "choices": choices, "truth": choices[asked.truth]}
            rows.append({"title": card.title, **found, "why": asked.why})
        return rows

    gr.api(lessons, api_name="lessons", queue=False)


def _training(frame: Frame) -> None:
    trainer = frame.trainer

    def train_run(
        name: str,
        pair: str = "tiny-qwen3",
        method: str = "skd",
        task: str = "summaries",
        accept_top_k: int = 3,
        updates: int = 120,
        prompts: int = 100,
        learning_rate: float = 0.001,
    ) -> str:
        """Begin a training run and return its name at once; one goes on at a time.

        Args:
            name: of the run, one word that no run has yet.
            pair: a pair of models that came with the package.
            method: who writes the text that the student learns from.
            task: one that makes its own prompts, such as summaries or arithmetic.
            accept_top_k: K; a proposal stands if the teacher ranks it at most this.
            updates: optimizer updates, at most 300.
            prompts: training prompts, at most 500.
            learning_rate: of AdamW, at its peak.
        """
        try:
            asked = (name, method, pair, task, accept_top_k, updates, prompts, learning_rate)
            return trainer.start(read(*asked)).name
        except SkdError as error:
            raise gr.Error(str(error)) from error

    def training() -> dict:
        """The run that trains, or the last one that did: name, state, updates done, steps, and a
        sentence. State is "training", "stopping", "stopped", "done" or "failed"; {} before any."""
        latest = trainer.latest
        if latest is None:
            return {}
        state, records = latest.state, latest.records
        return {
            "name": latest.name,
            "state": state,
            "done": len(records),
            "steps": latest.config.steps,
            "sentence": latest.sentence(records),
        }

    def stop_training() -> str:
        """Let the run that trains end after the update in hand, saved; returns its name."""
        trainer.stop()
        return trainer.latest.name if trainer.latest else ""

    gr.api(train_run, api_name="train_run", queue=False)
    gr.api(training, api_name="training", queue=False)
    gr.api(stop_training, api_name="stop_training", queue=False)


def _runs(frame: Frame) -> None:
    def run_summaries() -> list[dict]:
        """What can be opened: of each its name, method, task, updates done ("steps") and planned,
        last loss, share of replaced tokens first and last, and score ("metric", "value")."""
        return listed(frame.library)

    def export_run(name: str, kind: str = "ndjson") -> str:
        """A run's recordings as text.

        Args:
            name: of the run.
            kind: "ndjson" or "html" (both can be imported again), "csv", or "report" (HTML).
        """
        try:
            return importing.export(look(frame.library, name), kind)[1]
        except SkdError as error:
            raise gr.Error(str(error)) from error

    def import_traces(name: str, text: str) -> str:
        """Keep traces as a run of this app; returns what was read, in a sentence.

        Args:
            name: of the run, one word that no run has yet.
            text: NDJSON (schema skd-trace/1) or an exported page of strips, at most 20 MB.
        """
        try:
            importing.run_name(name)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "traces"
                path.write_text(text, encoding="utf-8", newline="\n")
                return import_file(frame, path, name, own="the text")[1]
        except SkdError as error:
            raise gr.Error(str(error)) from error

    gr.api(run_summaries, api_name="run_summaries", queue=False)
    gr.api(export_run, api_name="export_run", queue=False)
    gr.api(import_traces, api_name="import_traces", queue=False)


def _lapse(frame: Frame) -> None:
    def recordings(run: str, prompt: int) -> tuple[Any, list[Trace]]:
        opened = look(frame.library, run)
        prompts = list(opened.prompts().values())
        if not 1 <= prompt <= len(prompts):
            raise UsageError(f"{run} has {len(prompts)} recorded prompts; there is no {prompt}.")
        return opened, prompts[prompt - 1]

    def time_lapse(run: str, prompt: int = 1, one_text: bool = False) -> str:
        """One prompt over the checkpoints of a run, as NDJSON in step order.

        Args:
            run: its name.
            prompt: which of its recorded prompts, from 1.
            one_text: judge the last recording's text by every checkpoint, instead of the texts
                that they wrote.
        """
        try:
            opened, traces = recordings(run, prompt)
            if one_text:
                if opened.run is None:
                    raise UsageError(f"{run} has no checkpoints to judge a text with.")
                found = list(lapse.judge_over_time(frame.models, opened.run, traces, Event()))
                traces = found[-1]
            return dumps_traces(traces)
        except SkdError as error:
            raise gr.Error(str(error)) from error

    def prompts_of(run: str) -> list[dict]:
        """The recorded prompts of a run: of each its number, and of each of its recordings the
        step, the judged and the refused proposals."""
        try:
            opened = look(frame.library, run)
        except SkdError as error:
            raise gr.Error(str(error)) from error
        return [
            {"prompt": n, "recordings": lapse.refusals(traces)}
            for n, traces in enumerate(opened.prompts().values(), start=1)
        ]

    gr.api(time_lapse, api_name="time_lapse", **MODEL)
    gr.api(prompts_of, api_name="prompts_of", queue=False)
