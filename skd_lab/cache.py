"""Key-value caches that can be rolled back: the one room that touches transformers' caches.

PositionCache keeps slot == position: the keys of position p live in slot p of their row, for
ever. Feeding a position again overwrites it, so a rollback is only a pointer moving back, rows
may be at different positions, and no mask bookkeeping is needed: slot j is visible from
position p iff j <= p (and p - j < window), and whatever stands behind p is stale and unseen.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

_POSITION_KINDS = {"full_attention", "sliding_attention"}
# config fields of state-space models that name no layer_types (Mamba, Falcon-H1, RWKV)
_RECURRENT_MARKS = ("state_size", "mamba_d_state", "conv_kernel", "attention_hidden_size")


def supports_rollback(config: PretrainedConfig) -> bool:
    """Whether every layer's state can forget its last tokens.

    False for linear attention, state-space and other recurrent layers (seen in the config's
    layer_types): their state mixes all tokens, so a refused proposal cannot be taken out.
    Such models are run with gamma = 1, where no token enters a state before it is kept.
    """
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        return not any(hasattr(text, mark) for mark in _RECURRENT_MARKS)
    return set(kinds) <= _POSITION_KINDS


class _PositionLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, capacity, head_dim], written by position."""

    def __init__(self, owner: "PositionCache") -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, key_dim = key_states.shape
        capacity = self.owner.capacity
        # zeros, not empty: a masked slot has weight 0, and 0 * nan would still be nan
        self.keys = key_states.new_zeros(rows, heads, capacity, key_dim)
        self.values = value_states.new_zeros(rows, heads, capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        rows = torch.arange(key_states.shape[0], device=key_states.device).unsqueeze(-1)
        self.keys[rows, :, self.owner.positions] = key_states.transpose(1, 2)
        self.values[rows, :, self.owner.positions] = value_states.transpose(1, 2)
        visible = self.owner.visible
        return self.keys[:, :, :visible], self.values[:, :, :visible]

    def select(self, rows: Tensor) -> None:
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.visible, 0

    def get_seq_length(self) -> int:
        return self.owner.visible

    def get_max_length(self) -> int:
        return self.owner.capacity

    get_max_cache_shape = get_max_length  # its name before transformers 5.20


class PositionCache(Cache):
    """Cache of a transformers model in which a slot is a position (see the module's text).

    Args:
        config: of the model; tells the number of layers, their kinds and the window.
        capacity: positions a row may ever hold.
    """

    def __init__(self, config: PretrainedConfig, capacity: int) -> None:
        text = config.get_text_config()
        self.capacity = capacity
        self.positions: Int[Tensor, "rows fed"] = torch.empty(0, 0, dtype=torch.long)
        self.visible = 0
        self._kinds: list[str] | None = getattr(text, "layer_types", None)
        self._window: int | None = getattr(text, "sliding_window", None)
        self._eager = text._attn_implementation == "eager"
        super().__init__(layers=[_PositionLayer(self) for _ in range(text.num_hidden_layers)])

    def at(
        self, positions: Int[Tensor, "rows fed"], visible: int, dtype: torch.dtype
    ) -> Tensor | dict[str, Tensor]:
        """Say where the next forward's tokens stand; returns its attention mask.

        Args:
            positions: of the tokens about to be fed.
            visible: slots to attend over: one more than the largest position in use.
            dtype: of the model, for the additive masks of eager attention.

        Returns:
            A mask [rows, 1, fed, visible], or one per kind of layer by name, as the
            framework's own models take them.
        """
        self.positions, self.visible = positions, visible
        distance = positions.unsqueeze(-1) - torch.arange(visible, device=positions.device)
        full = distance >= 0
        if self._kinds is None:
            # models without layer_types have one window for all layers, or none
            inside = full if self._window is None else full & self._inside(distance)
            return self._mask(inside, dtype)
        masks = {"full_attention": self._mask(full, dtype)}
        if "sliding_attention" in self._kinds:
            masks["sliding_attention"] = self._mask(full & self._inside(distance), dtype)
        return masks

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows only: the others have finished and leave."""
        for layer in self.layers:
            layer.select(rows)

    def _inside(self, distance: Int[Tensor, "rows fed slots"]) -> Bool[Tensor, "rows fed slots"]:
        assert self._window is not None, "a sliding layer without a sliding_window in its config"
        return distance < self._window

    def _mask(
        self, allowed: Bool[Tensor, "rows fed slots"], dtype: torch.dtype
    ) -> Bool[Tensor, "rows 1 fed slots"] | Float[Tensor, "rows 1 fed slots"]:
        if not self._eager:
            return allowed.unsqueeze(1)
        additive = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return additive.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)


class RecurrentCache:
    """The framework's own cache, for models whose state cannot be rolled back.

    Every row advances by the same number of slots, so prompts stand left-padded.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        self.states = DynamicCache(config=config)

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows only: the others have finished and leave."""
        self.states.reorder_cache(rows)
