"""Decoding under every sampler: prefill, step, and rows that leave.

A Decoder always stands one token behind its row: the last kept token is fed together with the
next draft. That makes a refusal, a full acceptance and a fresh prompt the same case.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from skd_lab.cache import PositionCache
from skd_lab.errors import UsageError
from skd_lab.layers import FlatLayers

_WORTH_A_COPY = 16  # tokens a row: rearranging weights costs what one or two forwards do


@contextmanager
def sampling_mode(*models: nn.Module) -> Iterator[None]:
    """eval() and no_grad inside, every module's mode as found outside.

    eval() also keeps the cache on under gradient checkpointing, which is only active in train
    mode. no_grad rather than inference_mode: what was seen here takes part in a loss later.
    """
    # only those that change: a teacher's hundreds of modules are in eval mode already
    training = [module for model in models for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def decoding(way: str, device: torch.device) -> Iterator[None]:
    """How Decoders made inside run their steps: other costs, the same text.

    Args:
        way: "plain"; "compiled", steps of one token by torch.compile, where layers/ knows the
            model; or "recorded", every step as a CUDA graph.
        device: of the models.

    Raises:
        UsageError: if this device, or this machine, cannot.
    """
    if way == "recorded" and device.type != "cuda":
        raise UsageError(
            f"--decoding recorded needs a CUDA device, and the models are on {device.type}. Leave "
            "it out, or use --decoding compiled."
        )
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++")
    if way == "compiled" and device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise UsageError(
            "--decoding compiled needs a C++ compiler on a CPU, and none was found. Install g++ "
            "or leave it out."
        )
    before = Decoder.compiled, Decoder.static
    Decoder.compiled, Decoder.static = way == "compiled", way == "recorded"
    try:
        yield
    finally:
        Decoder.compiled, Decoder.static = before


class Decoder:
    """A model and its cache over rows at different positions; rolls back by being fed again.

    Args:
        model: a transformers causal language model.
        prompts: id lists, from 1 token each.
        max_new_tokens: of any row; sets the cache's capacity.
        vocab_size: logits are cut to the first ids; the rest is padding of the embedding.
        keep_hidden: also return the last hidden states.
    """

    compiled = False
    """Steps of one token by torch.compile, after half a minute of compiling in every process; see
    `decoding` and docs/performance.md."""

    static = False
    """Every step of a rollout in one shape, replayed as a CUDA graph on such a device: no Python
    between its kernels (decoders.py). Not measured yet, so not the default."""

    _cache: PositionCache | None = None
    _flat: FlatLayers | None = None
    _last_position: Tensor
    _end: int
    """The largest of the last positions."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        vocab_size: int | None = None,
        keep_hidden: bool = False,
    ) -> None:
        self.model, self.vocab_size, self.keep_hidden = model, vocab_size, keep_hidden
        self.device = model.device
        self._start(prompts, max_new_tokens)

    def feed(
        self,
        ids: Int[Tensor, "rows fed"],
        first_position: Int[Tensor, " rows"],
        furthest: int | None = None,
    ) -> tuple[Float[Tensor, "rows fed vocab"], Float[Tensor, "rows fed hidden"] | None]:
        """Write ids at first_position, first_position + 1, ... and look one token ahead.

        Feeding a position again forgets what stood there and after it.

        Args:
            ids: tokens to feed.
            first_position: where each row's first one stands.
            furthest: the largest of these, or more; asked of the device if not given.

        Returns:
            Raw logits in the model's dtype, and the last hidden states if they were asked for.
        """
        fed, positions = ids.shape[1], first_position[:, None]
        if fed > 1:
            positions = positions + torch.arange(fed, device=self.device)
        # a row at its limit may ride along in a wider block; its surplus must stay in capacity
        # (and in the context of models with learned positions), where no needed token looks
        positions = torch.minimum(positions, self._last_position[:, None])
        furthest = int(positions.max()) if furthest is None else furthest + fed - 1
        return self._forward(ids, positions, min(furthest, self._end) + 1)

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows only: the others have finished and leave."""
        for held in (self._cache, self._flat):
            if held is not None:
                held.select_rows(rows)
        self._last_position = self._last_position[rows]

    def _start(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        """Make the cache and read the prompts, all but their last tokens."""
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        self._last_position = lengths + max_new_tokens - 1  # nothing needs to be fed beyond
        capacity = max(map(len, prompts)) + max_new_tokens
        self._end = capacity - 2
        if FlatLayers.fit(self.model):
            # a compiled step reads the weights as they lie
            copied = max_new_tokens >= _WORTH_A_COPY and not self.compiled
            self._flat = FlatLayers(self.model, len(prompts), capacity, copied=copied)
            # dynamic: rows leave and texts grow, and none of it may compile anew
            step = self._flat.forward
            self._one = torch.compile(step, dynamic=True) if self.compiled else step
        else:
            self._cache = PositionCache(self.model.config, capacity)
        self._prefill([prompt[:-1] for prompt in prompts])

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> None:
        longest = max(len(prompt) for prompt in prompts)
        if longest == 0:
            return
        # right-padded: the padding lies behind each row's pointer, unseen, and is overwritten
        ids = torch.tensor([[*p, *[0] * (longest - len(p))] for p in prompts], device=self.device)
        positions = torch.arange(longest, device=self.device).expand_as(ids)
        self._forward(ids, positions, longest, prefill=True)

    def _forward(
        self, ids: Tensor, positions: Tensor, visible: int, prefill: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        if self._flat is not None:
            if prefill:
                hidden = self._flat.forward(ids, positions, visible, from_start=True)
                return hidden[..., :0], None  # nobody looks at the logits of a prompt
            # more tokens than one are bound by matrix products, which compiling leaves as they are
            run = self._one if ids.shape[1] == 1 else self._flat.forward
            hidden = run(ids, positions, visible)
            logits = self._flat.logits(hidden)
            return logits[..., : self.vocab_size], hidden if self.keep_hidden else None
        assert self._cache is not None
        mask = self._cache.at(positions, visible, self.model.dtype)
        # of a whole prompt the states of every layer would be kept at once, for nobody
        keep = self.keep_hidden and not prefill
        return self._call(ids, positions, mask, self._cache, int(prefill), keep)

    def _call(
        self,
        ids: Tensor,
        positions: Tensor,
        mask: object,
        cache: object,
        logits_to_keep: int,
        keep_hidden: bool,
    ) -> tuple[Tensor, Tensor | None]:
        out = self.model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
            output_hidden_states=keep_hidden,
        )
        hidden = out.hidden_states[-1] if keep_hidden else None
        return out.logits[..., : self.vocab_size], hidden


def check_request(
    models: Sequence[PreTrainedModel],
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    uniforms: Tensor,
) -> None:
    """Refuse, before any forward, what could not end well.

    Raises:
        UsageError: no prompts, an empty prompt, max_new_tokens < 1, uniforms of another shape,
            a prompt that leaves no room in a model's context, or an attention that takes no masks.
    """
    if not prompts:
        raise UsageError("There is nothing to roll out: the list of prompts is empty.")
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
    for row, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise UsageError(f"Prompt {row} is empty; a model goes on from one token or more.")
    if uniforms.shape[-2] < len(prompts) or uniforms.shape[-1] < max_new_tokens:
        raise UsageError(
            f"uniforms has {uniforms.shape[-2]} rows of {uniforms.shape[-1]} positions, but "
            f"{len(prompts)} prompts of up to {max_new_tokens} new tokens need one number each. "
            "Use draw_uniforms(seed, rows=len(prompt_ids), max_new_tokens=max_new_tokens)."
        )
    longest = max(map(len, prompts))
    for model in models:
        text = model.config.get_text_config()
        context = getattr(text, "max_position_embeddings", None)
        if context is not None and longest + max_new_tokens > context:
            raise UsageError(
                f"A prompt of {longest} tokens and {max_new_tokens} new tokens do not fit the "
                f"context of {type(model).__name__}, {context} tokens. Shorten the prompt, or "
                "lower max_new_tokens."
            )
        if text._attn_implementation not in ("sdpa", "eager"):
            raise UsageError(
                f"Attention '{text._attn_implementation}' takes no per-row masks, which ragged "
                "acceptance needs. Load the model with attn_implementation='sdpa'."
            )
