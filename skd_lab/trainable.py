"""A student made ready to train as the configuration says, and made plain again at the end."""

from pathlib import Path

from transformers import PreTrainedModel

from skd_lab.adapters import (
    add_adapters,
    has_adapters,
    load_adapter,
    merge_adapters,
    save_adapter,
)
from skd_lab.config import RunConfig
from skd_lab.errors import UsageError
from skd_lab.loading import load_model
from skd_lab.models import Pair, places


def check_trainable(config: RunConfig) -> None:
    """Refuse what could not be trained, before anything is loaded.

    Raises:
        UsageError: a quantised student, or one in float16, without adapters; float16 weights
            whose gradients are not scaled.
    """
    if config.lora_rank is None and config.student_quantised != "no":
        raise UsageError(
            "A quantised student cannot be trained: its weights have a few values only. Train "
            "adapters beside it (--lora-rank 16), or leave --student-quantised out."
        )
    if config.dtype != "float16":
        return
    if config.lora_rank is None:
        raise UsageError(
            "--dtype float16 cannot be trained: updates of its weights under- and overflow. Use "
            "--dtype float32 with --mixed-precision fp16 (or bf16), --dtype bfloat16, or train "
            "adapters (--lora-rank 16)."
        )
    if config.mixed_precision != "fp16":
        raise UsageError(
            "Through --dtype float16 small gradients become zero unless the loss is scaled. Add "
            "--mixed-precision fp16, or use --dtype bfloat16."
        )


def make_trainable(student: PreTrainedModel, config: RunConfig) -> None:
    """Adapters and gradient checkpointing, in place, as the configuration says.

    Raises:
        UsageError: for adapters that cannot be; for a checkpoint that was saved quantised,
            without adapters; for gradient checkpointing of a model that has none.
    """
    if config.lora_rank is not None:
        targets = config.lora_targets
        add_adapters(
            student,
            config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            targets=None if targets is None else [name.strip() for name in targets.split(",")],
            seed=config.seed,
        )
    elif getattr(student, "is_quantized", False):
        raise UsageError(
            "The student's checkpoint is quantised, so its weights cannot be trained. Train "
            "adapters beside it (--lora-rank 16), or take an unquantised checkpoint."
        )
    if not config.gradient_checkpointing:
        return
    if not student.supports_gradient_checkpointing:
        raise UsageError(
            f"{type(student).__name__} has no gradient checkpointing. Leave "
            "--gradient-checkpointing out and lower --microbatch-size."
        )
    enable = getattr(student, "activation_checkpointing_enable", None)  # its name since 5.22
    # not reentrant: that one needs inputs with a gradient, which a frozen embedding has not
    (enable or student.gradient_checkpointing_enable)({"use_reentrant": False})
    # the framework makes such inputs all the same, by a hook that flat decoding would stop at
    student.disable_input_require_grads()


def save_adapter_and_merge(folder: Path, pair: Pair, config: RunConfig) -> PreTrainedModel:
    """Write the adapters as peft reads them; the student with them merged, as a plain model.

    Args:
        folder: usually runs/<name>/adapter.
        pair: its student has adapters. They are merged in place, unless its weights are
            quantised: then it stays, and the student is loaded again for the merge, on the CPU.
        config: of the run.
    """
    base = pair.names.get("student")
    save_adapter(folder, pair.student, base)
    if not getattr(pair.student, "is_quantized", False):
        merge_adapters(pair.student)
        return pair.student
    whole, _ = places(config.pair, config.student, config.teacher)
    plain = load_model(whole, dtype=config.dtype, device="cpu")
    if getattr(plain, "is_quantized", False):
        raise UsageError(
            f"The adapters are in {folder}; they cannot be merged, as '{base}' itself is saved "
            "quantised. Load the two together with peft."
        )
    make_trainable(plain, config.replace(gradient_checkpointing=False))
    load_adapter(folder, plain)
    merge_adapters(plain)
    assert not has_adapters(plain)
    return plain
