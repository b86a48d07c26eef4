"""Everything that is checked and made ready before the first update of a run.

Cheap checks come first and models are loaded late, so that a wrong flag costs no waiting.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from skd_lab.config import RunConfig, flag
from skd_lab.encode import Encoded, EncodeReport, encode_examples
from skd_lab.errors import DataError, RunExistsError, SkdError, UsageError
from skd_lab.files import disk_errors, read_json, write_json_atomic
from skd_lab.methods import METHODS, Method, get_method, read_settings
from skd_lab.models import Pair, load_pair
from skd_lab.objectives import Objective, get_objective
from skd_lab.processes import is_first, wait_for_all
from skd_lab.tasks import Example, Task, get_task
from skd_lab.trainable import check_trainable, make_trainable

# fields that may differ when a run is resumed: they say where and how, not what is computed
_MAY_CHANGE = {
    "run_dir",
    "resume",
    "overwrite",
    "device",
    "keep_checkpoints",
    "save_every",
    "track",
    "microbatch_size",
    "gradient_checkpointing",
    "shard_student",
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the loop needs, checked."""

    config: RunConfig
    method: Method
    share: float
    """How often the second of a method's two sources writes, where they take turns by prompt."""
    objective: Objective
    task: Task
    pair: Pair
    data: EncodeReport
    """Training prompts; counts of kept, cut and dropped ones."""
    watched: list[Encoded]
    """Validation prompts that are recorded and evaluated on the way."""
    run_dir: Path
    settings: dict[str, float] = field(default_factory=dict)
    """Of the method's sources."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What the run keeps from update to update; see Scored.memory."""


def prepare(
    config: RunConfig, pair: Pair | None = None, data: EncodeReport | None = None
) -> Prepared:
    """Check the names and the folder, read the data, load the models, start the run folder.

    Args:
        config: of the run.
        pair: models already in hand; loaded if None.
        data: encoded training prompts already in hand; the task's own if None.

    Raises:
        UsageError: for anything that cannot be, before the models are loaded where possible.
    """
    check_trainable(config)
    method = get_method(config.method)
    chosen = method.objective_name(config.objective)
    settings, of_objective = read_settings(config.settings, method, chosen)
    objective = get_objective(chosen, config.beta, config.skew, of_objective)
    share = method.share(config.on_policy_fraction)
    task = get_task(config.task)
    run_dir = _check_run_dir(config)
    examples = [] if data is not None else _load(task, "train", config.n_prompts, config)
    watch = max(config.trace_prompts, config.eval_prompts if config.eval_every else 0)
    watched = _load(task, "validation", watch, config) if watch else []
    _require_references(method, [example.reference for example in examples], task)
    if pair is None:
        pair = (method.load or pair_for)(config)
    _require_context(config, pair)
    if data is None:
        data = encode_for(pair, examples, config)
    if not data.encoded:
        raise UsageError(
            f"No training prompt is left: {data.dropped} of {data.total} are longer than "
            f"{flag('max_prompt_tokens')} {config.max_prompt_tokens}. Raise it, or use "
            f"{flag('over_long')} cut_left."
        )
    make_trainable(pair.student, config)
    wait_for_all()  # until every process has looked at the folder
    if is_first():
        _start_run(config, run_dir)
    wait_for_all()
    return Prepared(
        config=config,
        method=method,
        share=share,
        objective=objective,
        task=task,
        pair=pair,
        data=data,
        watched=encode_for(pair, watched, config).encoded,
        run_dir=run_dir,
        settings=settings,
    )


def prompt_order(prompts: int, visits: range, seed: int) -> list[int]:
    """Which prompt each visit takes: every epoch is its own permutation, keyed by (seed, epoch).

    A visit is one prompt in one window, counted from the start of the run; so a resumed run, or
    one on more processes, sees the same prompts.
    """
    orders: dict[int, np.ndarray] = {}
    chosen = []
    for visit in visits:
        epoch, place = divmod(visit, prompts)
        if epoch not in orders:
            # role 2 in the key: the uniforms have 0 and 1
            bits = np.random.Philox(
                key=np.array([seed, 2], dtype=np.uint64),
                counter=np.array([0, epoch, 0, 0], dtype=np.uint64),
            )
            orders[epoch] = np.random.Generator(bits).permutation(prompts)
        chosen.append(int(orders[epoch][place]))
    return chosen


def _check_run_dir(config: RunConfig) -> Path:
    run_dir = Path(config.run_dir)
    saved = run_dir / "config.json"
    if saved.exists() and not (config.resume or config.overwrite):
        raise RunExistsError(
            f"There is already a run in {run_dir}. Go on with it (--resume), replace it "
            "(--overwrite), or choose another --run-dir."
        )
    if config.resume:
        if not saved.exists():
            raise UsageError(
                f"There is no run in {run_dir} to go on with. Leave --resume out to start it."
            )
        _require_same_config(config, read_saved_config(saved))
    here = next(path for path in [run_dir, *run_dir.absolute().parents] if path.exists())
    if not (here.is_dir() and os.access(here, os.W_OK)):
        reason = "may not be written to" if here.is_dir() else "is a file"
        raise SkdError(
            f"Cannot make the run folder {run_dir}: {here} {reason}. Choose another --run-dir."
        )
    return run_dir


def saved_config(config: RunConfig) -> dict[str, object]:
    """A configuration as the run folder holds it: without how this session was started."""
    return {**config.to_dict(), "resume": False, "overwrite": False}


def fingerprint(config: RunConfig) -> str:
    """What a run is known by: a digest of all that decides it and is not a default.

    A field that a later version adds does not change it.
    """
    defaults = {field.name: field.default for field in fields(RunConfig)}
    decides = {
        name: value
        for name, value in json.loads(config.to_json()).items()
        if name not in _MAY_CHANGE and value != defaults[name]
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def read_saved_config(path: Path) -> dict[str, object]:
    """The config.json of a run that is to go on; a DataError says what to do if it is damaged."""
    try:
        return read_json(path)
    except DataError as error:
        raise DataError(
            f"{path} is damaged, and --resume needs it to know that the run is the same. Put a "
            "copy of it back, or start again with --overwrite."
        ) from error


def _require_same_config(config: RunConfig, saved: dict[str, object]) -> None:
    now = json.loads(config.to_json())
    # a field that is younger than the run had its default then
    then = {field.name: field.default for field in fields(RunConfig)} | saved
    changed = [
        f"{flag(name)} was {then[name]} and is now {value}"
        for name, value in now.items()
        if name not in _MAY_CHANGE and then[name] != value
    ]
    if changed:
        raise UsageError(
            f"The run in {config.run_dir} was started with another configuration: "
            f"{'; '.join(changed)}. Give the same values to go on, or choose another --run-dir."
        )


def _start_run(config: RunConfig, run_dir: Path) -> None:
    """Make way for a new run; nothing is deleted before everything else was found good."""
    with disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    if not config.resume:
        for name in ("checkpoints", "student", "tensorboard", "wandb"):
            shutil.rmtree(run_dir / name, ignore_errors=True)
        for name in ("steps.jsonl", "traces.ndjson", "eval.jsonl", "report.html", "table.json"):
            (run_dir / name).unlink(missing_ok=True)
    write_json_atomic(run_dir / "config.json", saved_config(config))


def _load(task: Task, split: str, n: int | None, config: RunConfig) -> list[Example]:
    return task.load(split, n, seed=0, data_path=config.data_path)


def pair_for(config: RunConfig) -> Pair:
    """The models a configuration names."""
    return load_pair(
        config.pair,
        student=config.student,
        teacher=config.teacher,
        dtype=config.dtype,
        device=config.device,
        teacher_dtype=config.teacher_dtype,
        student_quantised=config.student_quantised,
        teacher_quantised=config.teacher_quantised,
    )


def encode_for(pair: Pair, examples: Sequence[Example], config: RunConfig) -> EncodeReport:
    """Examples as ids for this pair, within this run's limits."""
    return encode_examples(
        pair.tokenizer,
        examples,
        max_prompt_tokens=config.max_prompt_tokens,
        over_long=config.over_long,
        max_completion_tokens=config.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
        thinking=config.thinking,
    )


def _require_references(method: Method, references: Sequence[str | None], task: Task) -> None:
    missing = sum(reference is None for reference in references)
    if method.needs_reference and missing:
        sampled = [row.name for row in METHODS.values() if not row.needs_reference]
        raise UsageError(
            f"Method '{method.name}' trains on reference answers, but {missing} of "
            f"{len(references)} prompts of task '{task.name}' have none. Choose a method whose "
            f"text is sampled ({', '.join(sampled)}), or add the references."
        )


def _require_context(config: RunConfig, pair: Pair) -> None:
    for role, model in (("student", pair.student), ("teacher", pair.teacher)):
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        needed = config.max_prompt_tokens + config.max_new_tokens
        if context is not None and needed > context:
            raise UsageError(
                f"{flag('max_prompt_tokens')} {config.max_prompt_tokens} and "
                f"{flag('max_new_tokens')} {config.max_new_tokens} are {needed} tokens together, "
                f"more than the {role}'s context of {context}. Lower one of them."
            )
