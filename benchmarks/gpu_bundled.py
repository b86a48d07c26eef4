"""A pair like the bundled ones, made on this device at a larger size, and distilled."""

import copy
import signal
import types
from pathlib import Path
from typing import Any

import torch

import skd_lab
from benchmarks.gpu_models import Load, random_model
from skd_lab.config import RunConfig
from skd_lab.evaluate import evaluate
from skd_lab.loading import load_model, load_tokenizer
from skd_lab.models import Pair, make_pair
from skd_lab.prepare import encode_for
from skd_lab.stopping import Stopped
from skd_lab.tasks import get_task
from skd_lab.train import train

TASK = "summaries"
TEACHER = dict(hidden_size=512, intermediate_size=1536, num_hidden_layers=8, head_dim=64)
STUDENT = dict(hidden_size=192, intermediate_size=576, num_hidden_layers=4, head_dim=48)
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, head_dim=8)
"""The bundled teacher is 192 wide with 4 layers, its student half of that."""

_TOKENIZER = Path(skd_lab.__file__).parent / "bundled" / "tiny-qwen3" / "teacher"
PROMPTS, FEW = 20_000, 100
"""Of the teacher's training; of the student's, and of every distillation."""


class Unfinished(Exception):
    """The time was up; what was done so far is in the run folder."""


def teach(role: str, device: str, load: Load, folder: Path, seconds: float) -> dict[str, Any]:
    """Train one of the two from random weights; goes on where an earlier call stopped.

    Args:
        role: "teacher" or "student".
        folder: where runs lie; the model is in <role>/student when it is done.
        seconds: to stop after.

    Raises:
        Unfinished: the time was up.
    """
    tokenizer = load_tokenizer(_TOKENIZER)
    sizes = SMALL if load.scaled else (TEACHER if role == "teacher" else STUDENT)
    config = dict(
        model_type="qwen3", vocab_size=len(tokenizer), num_attention_heads=8 if sizes is TEACHER
        else 4, num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=2048,
        **sizes,
    )  # fmt: skip
    model = random_model(config, dtype=torch.float32, device=device, seed=len(role))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    updates = load.pretraining if role == "teacher" else max(2, load.pretraining // 10)
    result = _run(
        make_pair(model, copy.deepcopy(model), tokenizer),  # the second one is not asked
        folder / role,
        seconds,
        method="sft",
        n_prompts=FEW if load.scaled or role == "student" else PROMPTS,
        steps=updates,
        learning_rate=2e-3,
        warmup_steps=updates // 20,
        mixed_precision="no" if device == "cpu" else "bf16",
        device=device,
    )
    return {"loss": result[-1].metrics["loss"], "updates": updates, **_speed(result)}


def distil(method: str, device: str, load: Load, folder: Path, seconds: float) -> dict[str, Any]:
    """Distil the student by a method, and score it on held-out prompts.

    Raises:
        Unfinished: the time was up.
    """
    pair = _pair(folder, device, folder / "student" / "student")
    result = _run(
        pair,
        folder / method,
        seconds,
        method=method,
        n_prompts=FEW,
        steps=load.distillation,
        learning_rate=1e-3,
        mixed_precision="no" if device == "cpu" else "bf16",
        device=device,
    )
    scores = score(f"{method}/student", device, load, folder)
    return {"loss": result[-1].metrics["loss"], **_speed(result), **scores}


def score(place: str, device: str, load: Load, folder: Path) -> dict[str, Any]:
    """Greedy score on held-out prompts of a model under the folder."""
    pair, task = _pair(folder, device, folder / place), get_task(TASK)
    config = RunConfig(pair="tiny-qwen3", max_new_tokens=64)
    encoded = encode_for(pair, task.load("test", load.held_out), config)
    report = evaluate(
        pair, task, encoded.encoded, max_new_tokens=64, accept_top_k=25, gamma=5, seed=0
    )
    return {"score": report.metrics, "acceptance_rate": report.acceptance_rate}


def _pair(folder: Path, device: str, student: Path) -> Pair:
    teacher = folder / "teacher" / "student"
    models = [load_model(at, device=device) for at in (student, teacher)]
    return make_pair(models[0], models[1], load_tokenizer(teacher))


def _run(pair: Pair, run_dir: Path, seconds: float, **fields: Any) -> list[Any]:
    """A run that stops by itself when the time is up, and goes on when it is called again."""
    started = (run_dir / "checkpoints").is_dir()
    config = RunConfig(
        pair="tiny-qwen3",  # a name is asked for; the models are passed
        task=TASK,
        max_new_tokens=64,
        trace_prompts=0,
        save_every=500,
        keep_checkpoints=1,
        run_dir=str(run_dir),
        resume=started,
        overwrite=not started,
        **fields,
    )

    def stop(number: int, frame: types.FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)  # train saves, then stops

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, min(max(1.0, seconds), 1e6))
    try:
        return list(train(config, pair=pair, progress=False).steps)
    except Stopped as stopped:
        raise Unfinished(str(stopped)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _speed(steps: list[Any]) -> dict[str, float]:
    rates = sorted(step.metrics["tokens_per_second"] for step in steps)
    return {"kept_tokens_per_second": rates[len(rates) // 2]}
