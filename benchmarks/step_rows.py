"""The rows of the step benchmark: how each trainer is asked for a few steps on the same data."""

import contextlib
import copy
import functools
import importlib.util
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

import skd_lab.step
from benchmarks.meter import ROLLOUT, Meter, Place, wrapped
from benchmarks.sizes import Size, as_words, make_data, make_pair, make_texts
from skd_lab.config import RunConfig
from skd_lab.decode import Decoder
from skd_lab.drafting import ADAPTIVE
from skd_lab.methods import Method
from skd_lab.step import StudentLoss
from skd_lab.train import _Loop, train

Observe = Callable[[], Any]
"""A context manager around every optimizer step."""

Row = Callable[[Size, int, Meter, Observe], None]
"""Runs so many optimizer steps from the first weights on."""

WITHOUT_TRL = (
    "The rows of TRL are left out: it is not installed here (pip install 'skd-lab[bench]')."
)


def ours(
    method: str,
    gamma: Any,
    size: Size,
    steps: int,
    meter: Meter,
    observe: Observe,
    decoding: Any = "plain",
) -> None:
    """skd_lab.train, with all it writes to the run folder in a step."""
    pair = make_pair(size)
    pair.student, pair.teacher = _followed(meter, pair.student, pair.teacher)

    def update(loop: _Loop) -> Any:
        with observe():
            return inner(loop)

    places: list[Place] = [
        (Method, "write", ROLLOUT),
        (StudentLoss, "forward", "projection and loss"),
        (Decoder, "_forward", lambda decoder, *_: meter.of_forward(decoder.model)),
        (skd_lab.step, "_seen_by", lambda teacher, *_: meter.of_forward(teacher)),
        *_common(meter, pair),
    ]
    with tempfile.TemporaryDirectory() as folder, wrapped(meter, places):
        inner, _Loop._update = _Loop._update, update  # type: ignore[method-assign]
        try:
            train(
                RunConfig(
                    pair="tiny-qwen3",  # a name is asked for; the models are passed below
                    method=method,
                    objective="forward_kl",
                    gamma=gamma,
                    decoding=decoding,
                    accept_top_k=size.accept_top_k,
                    max_new_tokens=size.new,
                    batch_size=size.batch,
                    steps=steps,
                    lr_schedule="constant",
                    trace_prompts=0,
                    eval_every=None,
                    save_every=10**9,
                    run_dir=f"{folder}/run",
                ),
                pair=pair,
                data=make_data(size, size.batch * steps),
                progress=False,
            )
        finally:
            _Loop._update = inner  # type: ignore[method-assign]


def trl_gkd(checkpointing: bool, size: Size, steps: int, meter: Meter, observe: Observe) -> None:
    """GKDTrainer.train, on its own samples in every step."""
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    def turn(prompt: str, reference: str) -> dict[str, Any]:
        asked, answered = {"role": "user", "content": prompt}, {"content": reference}
        return {"messages": [asked, {"role": "assistant", **answered}]}

    length = {"max_new_tokens": size.new, "max_length": size.prompt + size.new + 8}
    settings = functools.partial(GKDConfig, lmbda=1.0, **length)
    _trl(GKDTrainer, settings, turn, checkpointing, size, steps, meter, observe)


def trl_distillation(
    checkpointing: bool, size: Size, steps: int, meter: Meter, observe: Observe
) -> None:
    """DistillationTrainer.train: always on its own samples."""
    from trl import DistillationConfig, DistillationTrainer

    def turn(prompt: str, reference: str) -> dict[str, Any]:
        return {"prompt": [{"role": "user", "content": prompt}]}

    settings = functools.partial(DistillationConfig, max_completion_length=size.new)
    _trl(DistillationTrainer, settings, turn, checkpointing, size, steps, meter, observe)


def _trl(
    trainer: Any,
    settings: Callable[..., Any],
    turn: Callable[[str, str], dict[str, Any]],
    checkpointing: bool,
    size: Size,
    steps: int,
    meter: Meter,
    observe: Observe,
) -> None:
    """The same work as ours: dtype, objective, temperature, optimizer step, nothing written."""
    from datasets import Dataset

    pair = make_pair(size)
    student, teacher = _followed(meter, pair.student, pair.teacher)
    texts = zip(*make_texts(size, size.batch * steps), strict=True)
    rows = [turn(as_words(prompt), as_words(reference)) for prompt, reference in texts]
    places: list[Place] = [(trainer, "compute_loss", "projection and loss"), *_common(meter, pair)]
    with tempfile.TemporaryDirectory() as folder, wrapped(meter, places):
        trainer(
            model=student,
            teacher_model=teacher,
            args=settings(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=size.batch,
                beta=0.0,  # forward KL, as in our rows
                temperature=1.0,
                learning_rate=1e-5,
                lr_scheduler_type="constant",
                max_grad_norm=1.0,
                gradient_checkpointing=checkpointing,
                bf16=False,
                use_cpu=not torch.cuda.is_available(),
                logging_steps=1,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                seed=0,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=pair.tokenizer,
            callbacks=[_observer(observe)],
        ).train()


def step_rows(names: list[str] | None = None, decoding: str = "plain") -> dict[str, Row]:
    """All rows there can be here, by name; the first is what ratios are taken to."""
    own = functools.partial(ours, decoding=decoding)
    rows: dict[str, Row] = {}
    if importlib.util.find_spec("trl") is not None:
        rows |= {
            "TRL GKD, defaults": functools.partial(trl_gkd, True),
            "TRL GKD, cache on": functools.partial(trl_gkd, False),
            "TRL Distillation, defaults": functools.partial(trl_distillation, True),
            "TRL Distillation": functools.partial(trl_distillation, False),
        }
    rows["skd_lab supervised_kd"] = functools.partial(own, "supervised_kd", 5)
    rows["skd_lab on_policy_kd"] = functools.partial(own, "on_policy_kd", 5)
    for gamma in (1, 3, 5, 8, ADAPTIVE):
        rows[f"skd_lab skd, gamma {gamma}"] = functools.partial(own, "skd", gamma)
    return {name: rows[name] for name in names or rows}


def _followed(meter: Meter, student: Any, teacher: Any) -> tuple[Any, Any]:
    meter.roles.clear()
    student = copy.deepcopy(student)
    meter.follow("student", student)
    meter.follow("teacher", teacher)
    return student, teacher


def _common(meter: Meter, pair: Any) -> list[Place]:
    from transformers import GenerationMixin

    model = type(pair.student)
    return [
        (model, "forward", meter.of_forward),
        (type(pair.student.model), "forward", meter.of_forward),
        (GenerationMixin, "generate", ROLLOUT),
        (Accelerator, "backward", "backward"),
        (torch.optim.AdamW, "step", "optimizer"),
    ]


def _observer(observe: Observe) -> Any:
    from transformers import TrainerCallback

    class Observer(TrainerCallback):
        """Opens and closes the observation around a step of a framework's trainer."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.open = observe()
            self.open.__enter__()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.open.__exit__(None, None, None)

    return Observer()


@contextmanager
def quiet() -> Iterator[None]:
    """No advice and no progress bars from the frameworks."""
    import datasets
    import transformers

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            transformers.logging.set_verbosity(before)
            datasets.enable_progress_bars()
