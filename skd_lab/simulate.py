"""What a model's forward and backward passes would hold in memory, found without doing them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig, PreTrainedModel

from skd_lab.cache import PositionCache
from skd_lab.config import RunConfig
from skd_lab.fakes import LiveBytes, Needs, at_depth, fake_model
from skd_lab.losses import forward_kl
from skd_lab.projection import Projection, chunk_size, chunked_divergence, chunked_nll
from skd_lab.sampling import SamplingPolicy, teacher_rank, token_log_probs, warp


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What decides a step's memory.

    Attributes:
        rows: prompts of one process in a rollout.
        microbatch: rows in one forward and backward.
        prompt: tokens of the longest prompt.
        completion: tokens of the longest completion.
        block: tokens fed at once in a rollout's step.
        vocab_size: ids both models share.
        teacher_width: of the teacher's hidden states; None for an objective without a teacher.
        teacher_bytes: of one number of the teacher's.
        device: kind of device, cpu or cuda.
    """

    rows: int
    microbatch: int
    prompt: int
    completion: int
    block: int
    vocab_size: int
    teacher_width: int | None
    teacher_bytes: int
    device: str


def weights_of(config: PretrainedConfig, dtype: str, run: RunConfig | None = None) -> Needs:
    """Bytes and numbers of a model's weights.

    Args:
        config: as load_config gives it.
        dtype: of the weights.
        run: makes it the student, trainable as this says; None for a model that is not trained.

    Returns:
        weights: bytes; linear: numbers in matrices that quantisation makes smaller (neither
        embedding nor head); head: numbers in the output head; trained, trained_bytes: numbers and
        bytes with a gradient; largest: numbers of the largest of these.
    """
    return at_depth(config, lambda part: _count(part, dtype, run))


def rollout_needs(config: PretrainedConfig, dtype: str, autocast: str, sizes: Sizes) -> Needs:
    """Bytes beside the weights in a rollout.

    Returns:
        held: keys, values and casts, for as long as the rollout goes on; passing: the most that
        the forward of the prompts, or of a block, takes beside that.
    """
    return at_depth(config, lambda part: _roll(part, dtype, autocast, sizes))


def block_needs(sizes: Sizes, dtype: str, judged: bool) -> Needs:
    """Bytes of a rollout's logits, and of what is drawn and judged with them: passing.

    Args:
        sizes: of the step.
        dtype: of the student's weights.
        judged: whether a teacher judges a block of the student's; else tokens are drawn singly.
    """
    rows, ids = sizes.rows, sizes.vocab_size
    own, theirs = getattr(torch, dtype), _numbers(sizes.teacher_bytes)
    width, policy = sizes.block if judged else 1, SamplingPolicy()
    with FakeTensorMode(), LiveBytes() as live:
        drafted = []
        for _ in range(width):
            drafted.append(torch.empty(rows, 1, ids, dtype=own))
            warp(drafted[-1][:, 0], policy).cumsum(dim=-1)
        if judged:
            student, teacher = (
                torch.cat(drafted, dim=1),
                torch.empty(rows, width, ids, dtype=theirs),
            )
            kept = torch.zeros(rows, width, dtype=torch.long)
            teacher_rank(teacher, kept)
            warp(teacher[:, 0], policy).cumsum(dim=-1)
            token_log_probs(student, kept)
            token_log_probs(teacher, kept)
        return {"passing": live.peak}


def scoring_needs(config: PretrainedConfig, dtype: str, autocast: str, sizes: Sizes) -> Needs:
    """Bytes of a teacher's forward over whole texts, beside its weights: passing."""
    return at_depth(config, lambda part: _score(part, dtype, autocast, sizes))


def update_needs(config: PretrainedConfig, run: RunConfig, autocast: str, sizes: Sizes) -> Needs:
    """Bytes of the student's forward, loss and backward, beside its weights.

    Returns:
        forward: the most while activations are made (gradients of an earlier microbatch there);
        loss: the most while the loss is made; early, late: the most in the two halves of the
        backward pass.
    """
    return at_depth(config, lambda part: _update(part, run, autocast, sizes))


@contextlib.contextmanager
def _counting(model: PreTrainedModel, autocast: str) -> Iterator[LiveBytes]:
    live = LiveBytes()
    live.known(*model.parameters(), *model.buffers())
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(autocast)
    with live, torch.autocast("cpu", dtype=half, enabled=half is not None):
        yield live


def _count(config: PretrainedConfig, dtype: str, run: RunConfig | None) -> Needs:
    with fake_model(config, dtype, run) as model:
        ends = {model.get_input_embeddings(), model.get_output_embeddings()}
        linear = [
            module.weight
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module not in ends and "lora_" not in name
        ]
        trained = [p for p in model.parameters() if p.requires_grad]
        return {
            "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
            "linear": sum(weight.numel() for weight in linear),
            "head": model.get_output_embeddings().weight.numel(),
            "trained": sum(p.numel() for p in trained),
            "trained_bytes": sum(p.numel() * p.element_size() for p in trained),
            "largest": max((p.numel() for p in trained), default=0),
        }


def _roll(config: PretrainedConfig, dtype: str, autocast: str, sizes: Sizes) -> Needs:
    capacity = sizes.prompt + sizes.completion
    with (
        fake_model(config, dtype, None) as model,
        _counting(model, autocast) as live,
        torch.no_grad(),
    ):
        cache = PositionCache(config, capacity)

        def feed(first: int, width: int, keep: int) -> None:
            positions = torch.arange(first, first + width).expand(sizes.rows, width)
            mask = cache.at(positions, first + width, model.dtype)
            model(
                input_ids=torch.zeros(sizes.rows, width, dtype=torch.long),
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=keep,
            )

        if sizes.prompt > 1:
            feed(0, sizes.prompt - 1, 1)
        feed(capacity - sizes.block, sizes.block, 0)
        return {"held": live.now, "passing": live.peak - live.now}


def _score(config: PretrainedConfig, dtype: str, autocast: str, sizes: Sizes) -> Needs:
    with (
        fake_model(config, dtype, None) as model,
        _counting(model, autocast) as live,
        torch.no_grad(),
    ):
        states = _read(model, sizes)[:, sizes.prompt - 1 : -1].reshape(-1, _width(config))
        assert states.dim() == 2
        return {"passing": live.peak}


def _update(config: PretrainedConfig, run: RunConfig, autocast: str, sizes: Sizes) -> Needs:
    found: dict[str, int] = dict.fromkeys(("forward", "loss", "early", "late"), 0)

    def passed(stage: str) -> None:
        found[stage] = max(found[stage], live.mark())

    def half_way(module: Any, args: Any, out: Any) -> None:
        states = out if isinstance(out, Tensor) else out[0]
        states.register_hook(lambda gradient: passed("early"))

    with fake_model(config, run.dtype, run) as model:
        weight = torch.empty(
            sizes.vocab_size, sizes.teacher_width or 1, dtype=_numbers(sizes.teacher_bytes)
        )
        live = LiveBytes()
        live.known(*model.parameters(), *model.buffers(), weight)
        model.train()
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(autocast)
        middle = model.get_decoder().layers[config.get_text_config().num_hidden_layers // 2]
        with live:
            # gradients of a first microbatch lie there while the next ones pass
            for _ in range(min(2, -(-sizes.rows // sizes.microbatch))):
                live.mark()
                with torch.autocast("cpu", dtype=half, enabled=half is not None):
                    hook = middle.register_forward_hook(half_way)
                    loss = _loss(model, weight, sizes, passed)
                    hook.remove()
                passed("loss")
                loss.backward()
                del loss
                passed("late")
        return dict(found)


def _loss(model: PreTrainedModel, weight: Tensor, sizes: Sizes, passed: Any) -> Tensor:
    """The loss of a microbatch, all of whose rows are as long as they may be."""
    states = _read(model, sizes)
    hidden = states[:, sizes.prompt - 1 : -1].reshape(-1, states.shape[-1])
    del states
    passed("forward")
    tokens = len(hidden)
    head = Projection.of(model, sizes.vocab_size)
    weights, chunk = torch.ones(tokens), chunk_size(sizes.vocab_size, sizes.device)
    if sizes.teacher_width is None:
        ids = torch.zeros(tokens, dtype=torch.long)
        return chunked_nll(hidden, head, ids, weights, chunk_tokens=chunk)[0]
    seen = torch.empty(tokens, sizes.teacher_width, dtype=weight.dtype)
    return chunked_divergence(
        forward_kl, hidden, head, seen, Projection(weight), weights, chunk_tokens=chunk
    )[0]


def _read(model: PreTrainedModel, sizes: Sizes) -> Tensor:
    """Last hidden states of a microbatch, with a mask a row as for texts of many lengths."""
    rows, width = sizes.microbatch, sizes.prompt + sizes.completion
    positions = torch.arange(width).expand(rows, width)
    out = model(
        input_ids=torch.zeros(rows, width, dtype=torch.long),
        position_ids=positions,
        attention_mask=PositionCache(model.config, width).at(positions, width, model.dtype),
        output_hidden_states=True,
        logits_to_keep=1,
        use_cache=False,
    )
    return out.hidden_states[-1]


def _width(config: PretrainedConfig) -> int:
    return config.get_text_config().hidden_size


def _numbers(size: int) -> torch.dtype:
    return {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[size]
