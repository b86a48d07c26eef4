"""What a run will need of its device's memory, told from its configuration before it starts.

Weights, gradients and optimizer state are counted; keys and values, activations and logits come
from simulated passes (simulate.py). Parts live at different times: the sum of those that live
together, at the worst time, is what must fit.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psutil
import torch

from skd_lab.config import RunConfig, flag
from skd_lab.encode import encode_examples
from skd_lab.errors import DataError, UsageError
from skd_lab.fakes import Needs
from skd_lab.layers import LARGEST_COPY, FlatLayers
from skd_lab.loading import load_config, load_tokenizer, usable_device
from skd_lab.memory_plan import MemoryPlan
from skd_lab.methods import get_method
from skd_lab.models import places
from skd_lab.objectives import get_objective
from skd_lab.simulate import (
    Sizes,
    block_needs,
    rollout_needs,
    scoring_needs,
    update_needs,
    weights_of,
)
from skd_lab.tasks import get_task
from skd_lab.trainable import check_trainable

_CONTEXT = 0.6 * 2**30  # CUDA's own, its libraries' and its kernels', of a process that computes
_ADAPTIVE_BLOCK = 8
_BITS = {"no": None, "8bit": 1.01, "4bit": 0.52}
"""Bytes of a quantised number with its share of the scales: LLM.int8; NF4, scales quantised too."""


def plan(config: RunConfig, *, free: float | None = None, processes: int = 1) -> MemoryPlan:
    """What a run will need, without loading any weights.

    Args:
        config: of the run; its models may be Hub ids, of which config.json alone is read.
        free: bytes of a device to plan for; what is free on the run's own device if None.
        processes: that share an update's prompts, a device each.

    Raises:
        UsageError: for a configuration that could not be trained, or a model whose configuration
            is not at hand.
    """
    check_trainable(config)
    if config.batch_size % processes:
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide by {processes} processes. Use a "
            "multiple."
        )
    return _Planner(config, free, processes).plan()


class _Planner:
    """The models' needs at one size of batch, and how they grow with it."""

    def __init__(self, config: RunConfig, free: float | None, processes: int) -> None:
        self.config, self.processes = config, processes
        self.device = (config.device or usable_device(None)).split(":")[0]
        self.free = _free(self.device) if free is None else free
        student, teacher = places(config.pair, config.student, config.teacher)
        self.student, self.teacher = load_config(student), load_config(teacher)
        self.teacher_dtype = config.teacher_dtype or config.dtype
        self.method = get_method(config.method)
        objective = get_objective(
            self.method.objective_name(config.objective), config.beta, config.skew
        )
        self.asks = objective.asks_teacher
        writers = set(self.method.completions)
        self.student_writes = not writers <= {"reference", "teacher"}
        self.teacher_writes = not writers <= {"reference", "student"}
        self.scores = self.asks and not writers <= {"teacher", "interleaved"}
        longest, note = _longest_prompt(config, student)
        text = self.teacher.get_text_config()
        rows = config.batch_size // processes
        self.sizes = Sizes(
            rows=rows,
            microbatch=min(config.microbatch_size or rows, rows),
            prompt=longest,
            completion=config.max_new_tokens,
            block=config.gamma if isinstance(config.gamma, int) else _ADAPTIVE_BLOCK,
            vocab_size=min(self.student.get_text_config().vocab_size, text.vocab_size),
            teacher_width=text.hidden_size if self.asks else None,
            teacher_bytes=_size(self.teacher_dtype),
            device=self.device,
        )
        self.notes = [note]

    def plan(self) -> MemoryPlan:
        """Everything at the run's own sizes, and what else would fit."""
        fixed, sizes = self._fixed(), self.sizes
        rolling, scoring, updating = self._rolling(sizes), self._scoring(sizes), self._update(sizes)
        parts = {
            **fixed,
            "caches": rolling["held"],
            "activations": updating["forward"],
            "logits": max(rolling["logits"], max(updating.values()) - updating["forward"]),
        }
        times = self._times(fixed, rolling, scoring, updating)
        microbatch = batch = None
        if self.free is not None:
            microbatch, batch = self._largest(fixed, rolling, scoring, updating)
        return MemoryPlan(
            device=self.device,
            parts=parts,
            times=times,
            free=self.free,
            rows=sizes.rows,
            microbatch=sizes.microbatch,
            largest_microbatch=microbatch,
            largest_batch=batch,
            notes=self.notes,
        )

    def _fixed(self) -> dict[str, float]:
        """What does not grow with the batch."""
        config = self.config
        student = weights_of(self.student, config.dtype, config)
        teacher = weights_of(self.teacher, self.teacher_dtype)
        shards = self.processes if config.shard_student else 1
        masters = config.dtype in ("bfloat16", "float16") and config.lora_rank is None
        state = 2 * max(_size(config.dtype), 4) if config.optimizer == "adamw" else 2.04
        optimizer = student["trained"] * (state + 4 * masters) / shards
        self._gradients = student["trained_bytes"] / shards
        if self.processes > 1 and not config.shard_student:
            optimizer += student["trained_bytes"]  # the buckets that gradients are exchanged in
        # torch's fused step needs nothing; the plain one two copies of the largest matrix
        passing = 2 * max(_size(config.dtype), 4) * student["largest"]
        self._step = 0 if self.device == "cuda" else passing
        if masters:  # their gradients take the place of the weights'
            self._step += 4 * student["trained"] - student["trained_bytes"]
        self._copies = 0.0
        if self.student_writes and config.lora_rank is None:
            self._copies += self._copied(self.student, student, config.dtype)
        if self.teacher_writes:
            self._copies += self._copied(self.teacher, teacher, self.teacher_dtype)
        if config.shard_student:
            self._copies += student["weights"]
            self.notes.append("Rollouts gather the student's weights on every process.")
        fixed = {
            "student weights": _packed(student, config.student_quantised, config.dtype) / shards,
            "teacher weights": _packed(teacher, config.teacher_quantised, self.teacher_dtype),
            "optimizer": optimizer,
            "gradients": self._gradients,
        }
        if self.device == "cuda":
            fixed["CUDA"] = _CONTEXT
            self.notes.append("Figures for CUDA are estimates that no GPU has checked.")
        return fixed

    def _copied(self, model: Any, needs: Needs, dtype: str) -> float:
        """Weights that a rollout rearranges (layers/): on a CPU, of the known models."""
        plain = dtype == "float32" and self.config.mixed_precision == "no"
        small = needs["weights"] <= LARGEST_COPY
        return needs["weights"] * (
            self.device == "cpu" and plain and small and FlatLayers.knows(model)
        )

    def _rolling(self, sizes: Sizes) -> Needs:
        """Of a rollout; scales with the rows."""
        precision, models = self.config.mixed_precision, []
        if self.student_writes:
            models.append(rollout_needs(self.student, self.config.dtype, precision, sizes))
        if self.teacher_writes:
            models.append(rollout_needs(self.teacher, self.teacher_dtype, precision, sizes))
        if not models:
            return {"held": 0, "passing": 0, "logits": 0, "states": 0}
        states = 0
        if self.asks and self.teacher_writes:
            width = self.teacher.get_text_config().hidden_size
            states = sizes.rows * sizes.completion * width * sizes.teacher_bytes
        return {
            "held": sum(needs["held"] for needs in models),
            "passing": max(needs["passing"] for needs in models),
            "logits": block_needs(sizes, self.config.dtype, len(models) == 2)["passing"],
            "states": states,
        }

    def _scoring(self, sizes: Sizes) -> float:
        """Of the teacher's forward over texts that it has not judged; scales with microbatches."""
        if not self.scores:
            return 0
        precision = self.config.mixed_precision
        return scoring_needs(self.teacher, self.teacher_dtype, precision, sizes)["passing"]

    def _update(self, sizes: Sizes) -> Needs:
        return update_needs(self.student, self.config, self.config.mixed_precision, sizes)

    def _times(
        self, fixed: Mapping[str, float], rolling: Needs, scoring: float, updating: Needs
    ) -> dict[str, float]:
        """Bytes that live together. Gradients live in the update alone, and in its passes are
        counted among what these hold."""
        always = sum(fixed.values()) - fixed["gradients"]
        kept = always + rolling["states"]
        beside = max(rolling["passing"], rolling["logits"])
        times = {
            "rollouts": kept + self._copies + rolling["held"] + beside,
            "teacher's scores": kept + scoring,
            "forward, loss, backward": kept + max(updating.values()),
            "optimizer step": always + fixed["gradients"] + self._step,
        }
        idle = [(rolling["held"], "rollouts"), (scoring, "teacher's scores")]
        return {k: v for k, v in times.items() if (0, k) not in idle}

    def _largest(
        self, fixed: Mapping[str, float], rolling: Needs, scoring: float, updating: Needs
    ) -> tuple[int, int]:
        """The largest microbatch at this batch, and the largest batch at the one that then fits."""
        assert self.free is not None
        rows, held = self.sizes.rows, self.sizes.microbatch
        # a line through two sizes, both with gradients of an earlier microbatch there
        few, more = (
            self._update(replace(self.sizes, rows=2 * size, microbatch=size)) for size in (1, 2)
        )

        def peak(rows_now: int, microbatch: int) -> float:
            grown = {name: size * rows_now / rows for name, size in rolling.items()}
            if microbatch == held and rows_now == rows:
                passes = updating
            else:
                passes = {
                    name: few[name] + (microbatch - 1) * (more[name] - few[name]) for name in few
                }
            times = self._times(fixed, grown, scoring * microbatch / held, passes)
            return max(times.values())

        free = self.free
        microbatch = _most(rows, lambda size: peak(rows, size) <= free)
        batch = _most(2**14, lambda size: peak(size, min(size, max(microbatch, 1))) <= free)
        return microbatch, batch * self.processes


def _most(limit: int, fits: Any) -> int:
    """The largest number from 1 to the limit that fits, if smaller ones do; 0 if none."""
    low, high = 0, limit + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _packed(needs: Needs, quantised: str, dtype: str) -> float:
    """Bytes of weights, a part of them in few bits."""
    each = _BITS[quantised]
    return needs["weights"] - (0 if each is None else needs["linear"] * (_size(dtype) - each))


def _size(dtype: str) -> int:
    return getattr(torch, dtype).itemsize


def _free(device: str) -> float | None:
    if device == "cpu":
        return float(psutil.virtual_memory().available)
    if device == "cuda" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    if device == "mps" and torch.backends.mps.is_available():
        return float(torch.mps.recommended_max_memory())
    return None


def _longest_prompt(config: RunConfig, student: Any) -> tuple[int, str]:
    """Tokens of the longest training prompt, if data and tokenizer are at hand; else the limit."""
    limit = config.max_prompt_tokens
    try:
        examples = get_task(config.task).load(
            "train", config.n_prompts, seed=0, data_path=config.data_path
        )
        tokenizer = load_tokenizer(student)
        report = encode_examples(
            tokenizer,
            examples,
            max_prompt_tokens=limit,
            over_long=config.over_long,
            max_completion_tokens=config.max_new_tokens,
            eos_token_ids=[] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id],
            vocab_size=len(tokenizer),
            thinking=config.thinking,
        )
        longest = max(len(row.prompt_ids) for row in report.encoded)
    except (UsageError, DataError, ValueError) as error:
        why = str(error).split(". ")[0]
        return limit, (
            f"Every prompt is taken to be as long as {flag('max_prompt_tokens')} {limit} allows, "
            f"as the data could not be read: {why}."
        )
    return longest, f"The longest of {report.kept} training prompts has {longest:,} tokens."
