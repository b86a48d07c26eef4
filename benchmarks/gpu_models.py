"""Random models in published shapes, on the device, for checks that need no weights."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks.real_shapes import SHAPES
from benchmarks.sizes import make_tokenizer
from skd_lab.encode import Encoded, EncodeReport
from skd_lab.models import Pair
from skd_lab.tasks import Example

PAIRS = {
    "qwen3": ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"),
    "gemma3": ("google/gemma-3-270m-it", "google/gemma-3-1b-it"),
}
"""Student and teacher of the timed runs, by family."""

FAMILIES = {
    "qwen2": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen3": "Qwen/Qwen3-0.6B",
    "gemma2": "google/gemma-2-2b-it",
    "gemma3": "google/gemma-3-270m-it",
}
"""Whose architecture the exactness checks take, scaled down, by family."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much there is to do."""

    scaled: bool
    """Models of few layers and narrow, for tests of these checks."""
    batch: int
    microbatch: int
    prompt: int
    """Tokens of every prompt."""
    new: int
    """Tokens of every completion."""
    updates: int
    """Timed updates; one more goes before them."""
    pretraining: int
    """Updates of the teacher of the bundled tasks; the student takes a tenth."""
    distillation: int
    """Updates of every method on the bundled tasks."""
    held_out: int
    """Prompts of its evaluation."""


LOADS = {
    "tiny": Load(
        scaled=True, batch=4, microbatch=2, prompt=8, new=8, updates=2, pretraining=20,
        distillation=2, held_out=4,
    ),
    "small": Load(
        scaled=False, batch=8, microbatch=2, prompt=64, new=64, updates=3, pretraining=3000,
        distillation=100, held_out=200,
    ),
    "full": Load(
        scaled=False, batch=32, microbatch=8, prompt=128, new=256, updates=3, pretraining=6000,
        distillation=200, held_out=500,
    ),
}  # fmt: skip
"""By name: for a test, for 16 to 24 GB, for 80 GB."""


def shape(name: str, *, scaled: bool) -> dict[str, Any]:
    """config.json of a checkpoint; scaled down it keeps what tells its architecture apart."""
    config = dict(SHAPES[name])
    if scaled:
        config |= dict(
            vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16,
            max_position_embeddings=512, sliding_window_pattern=2,
            tie_word_embeddings=False,  # a random model with one matrix repeats what it reads
        )  # fmt: skip
        if config.get("sliding_window"):
            config["sliding_window"] = 8
    return config


def random_model(
    config: dict[str, Any], *, dtype: torch.dtype, device: str, seed: int, sharpness: float = 1.0
) -> PreTrainedModel:
    """A model with random weights, made on the device, in eval mode.

    Args:
        sharpness: factor on the output head; untrained heads make every token about as likely.
    """
    kind = str(config["model_type"])
    settings = {k: v for k, v in config.items() if k not in ("model_type", "torch_dtype")}
    settings |= dict(eos_token_id=None, bos_token_id=None, pad_token_id=0)
    attention = "eager" if config.get("attn_logit_softcapping") else "sdpa"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(kind, **settings), dtype=dtype, attn_implementation=attention
            )
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(sharpness)
    return model.to(device).eval()


def random_pair(
    student: dict[str, Any],
    teacher: dict[str, Any],
    *,
    dtypes: tuple[torch.dtype, torch.dtype],
    device: str,
    sharpness: float = 1.0,
) -> Pair:
    """Two random models and words for their ids; no id ends a text, so all have one length."""
    vocabulary = min(student["vocab_size"], teacher["vocab_size"])
    return Pair(
        student=random_model(student, dtype=dtypes[0], device=device, seed=0, sharpness=sharpness),
        teacher=random_model(teacher, dtype=dtypes[1], device=device, seed=1, sharpness=sharpness),
        tokenizer=make_tokenizer(vocabulary),
        vocab_size=vocabulary,
        eos_token_ids=[],
        pad_token_id=0,
    )


def random_data(load: Load, vocabulary: int, rows: int) -> EncodeReport:
    """Random prompts and references of the load's lengths, ids from 1."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(1, vocabulary, (rows, load.prompt + load.new), generator=generator)
    encoded = [
        Encoded(
            example=Example(id=str(row), prompt="random", reference="random"),
            prompt_ids=own[: load.prompt],
            reference_ids=own[load.prompt :],
        )
        for row, own in enumerate(ids.tolist())
    ]
    return EncodeReport(encoded=encoded, cut=0, dropped=0, references_cut=0)


def shortened(load: Load, **changes: int) -> Load:
    """The load with other numbers."""
    return replace(load, **changes)
