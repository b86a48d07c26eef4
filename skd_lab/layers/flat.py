"""The layers of Qwen3 and Gemma3 written out flat, for decoding a few tokens at a time.

A decoding step of a small model spends most of its time between the operations: in the framework's
modules, masks and cache calls. Here one function runs all layers on [rows * tokens, width]
matrices over a cache by position. It reads the model's own weights in place, and its logits equal
the module's to round-off (tests/test_layers.py). Any other model, or one that something has been
changed about (adapters, hooks, quantised or half-precision weights, autocast), is left to its
module: `FlatLayers.fit` says no. docs/performance.md has what it gains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from skd_lab.layers.products import LARGEST_COPY, Norm, Product, can_rearrange, head_product

_KNOWN = {Qwen3ForCausalLM: Qwen3Config, Gemma3ForCausalLM: Gemma3TextConfig}
_CAPTURING = "transformers.utils.output_capturing"
# rotary embeddings that are a table: the others change with the length of the text
_TABLES = {"default", "linear", "llama3", "yarn"}


@dataclass(eq=False)
class _Layer:
    """One layer's weights, and its keys and values [rows * capacity, heads, head_dim]."""

    heads: Product
    """Queries, keys and values."""
    out: Product
    gate: Product
    up: Product
    down: Product
    activation: Callable[[Tensor], Tensor]
    before_attention: Norm
    on_heads: Norm
    after_attention: Norm | None
    before_mlp: Norm
    after_mlp: Norm | None
    kind: str
    scaling: float
    keys: Tensor
    values: Tensor


class FlatLayers:
    """A known model's decoder over `rows` rows of at most `capacity` positions.

    Args:
        model: one that `fit` agrees to; any other would be computed wrongly.
        rows: of the batch.
        capacity: positions a row may ever hold.
        cached: False to keep nothing, for a single forward from the start.
        copied: rearrange the weights where that pays (products.py), for many forwards to come; the
            copy is of the weights as they are now.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        capacity: int,
        cached: bool = True,
        copied: bool = False,
    ) -> None:
        self.model, self.rows, self.capacity, self.cached = model, rows, capacity, cached
        self.config = config = model.config.get_text_config()
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.head_dim: int = config.head_dim
        self.slots = torch.arange(capacity, device=model.device)
        self.first_slot = capacity * torch.arange(rows, device=model.device)
        body: Any = model.model
        self.embed, self.head = body.embed_tokens, model.get_output_embeddings().weight
        self.copied = copied and _may_be_copied(model, self.head)
        self.to_logits = Product(self.head, copied=True) if self.copied else None
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.last_norm = self._norm(body.norm)
        self.layers = [self._layer(layer) for layer in body.layers]
        self.turns = {kind: self._rotary(kind) for kind in {layer.kind for layer in self.layers}}

    @staticmethod
    def knows(config: Any) -> bool:
        """Whether this is the configuration of a model written out here."""
        return type(config) in _KNOWN.values()

    @staticmethod
    def fit(model: PreTrainedModel) -> bool:
        """Whether the layers here compute what this model's module would."""
        if type(model) not in _KNOWN or type(model.config) is not _KNOWN[type(model)]:
            return False
        config, device = model.config, model.device.type
        ropes = config.rope_parameters
        ropes = [ropes] if "rope_type" in ropes else list(ropes.values())
        return (
            config._attn_implementation == "sdpa"
            and not config.attention_bias
            and not getattr(config, "use_bidirectional_attention", False)
            and getattr(config, "attn_logit_softcapping", None) is None
            and all(rope is None or rope["rope_type"] in _TABLES for rope in ropes)
            and not torch.is_autocast_enabled(device)
            and not torch.is_grad_enabled()
            and len({p.device for p in model.parameters()}) == 1
            and {p.dtype for p in model.parameters()} in ({torch.float32}, {torch.float64})
            and all(_untouched(module) for module in model.modules())
        )

    def forward(
        self,
        ids: Int[Tensor, "rows fed"],
        positions: Int[Tensor, "rows fed"],
        visible: int,
        from_start: bool = False,
    ) -> Float[Tensor, "rows fed hidden"]:
        """Last hidden states, normed: what the output head takes.

        Args:
            ids: tokens to feed.
            positions: where they stand; also the slot that each is written to.
            visible: slots to attend over: one more than the largest position in use.
            from_start: positions are 0, 1, 2, ... in every row; then no mask is made, which
                would grow with the square of the prompt.
        """
        rows, fed = ids.shape
        places, shares = positions.reshape(-1), self.heads // self.groups
        written = (positions + self.first_slot[:, None]).view(-1)
        masks = {
            kind: None
            if from_start and self._window(kind) >= visible
            else self._mask(kind, positions, visible, shares)
            for kind in self.turns
        }
        turns = {
            kind: (cos[places, None], sin[places, None]) for kind, (cos, sin) in self.turns.items()
        }
        x = self.embed.forward(ids.reshape(-1))
        for layer in self.layers:
            mask = masks[layer.kind]
            narrow = layer.before_attention(x)
            attended = self._attend(layer, narrow, turns[layer.kind], written, mask, visible)
            x = _added(x, attended, layer.out, layer.after_attention)
            narrow = layer.before_mlp(x)
            wide = layer.activation(layer.gate(narrow)).mul_(layer.up(narrow))
            x = _added(x, wide, layer.down, layer.after_mlp)
        return self.last_norm(x).view(rows, fed, -1)

    def logits(self, hidden: Float[Tensor, "rows fed hidden"]) -> Float[Tensor, "rows fed vocab"]:
        """The output head."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = self.to_logits(flat) if self.to_logits else head_product(flat, self.head)
        logits = logits.view(*hidden.shape[:-1], len(self.head))
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def select_rows(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows only: the others have finished and leave."""
        for layer in self.layers:
            for name in ("keys", "values"):
                held = getattr(layer, name).view(self.rows, self.capacity, -1)
                setattr(layer, name, held[rows].view(-1, self.groups, self.head_dim))
        self.rows, self.first_slot = len(rows), self.first_slot[: len(rows)]

    def _attend(
        self,
        layer: _Layer,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        written: Tensor,
        mask: Tensor | None,
        visible: int,
    ) -> Tensor:
        heads, groups, dim, half = self.heads, self.groups, self.head_dim, self.head_dim // 2
        cos, sin = turn
        three = layer.heads(x).view(-1, heads + 2 * groups, dim)
        # queries and keys as one tensor of heads: normed and turned together
        both = layer.on_heads(three[:, : heads + groups])
        turned = torch.cat((both[..., half:], both[..., :half]), dim=-1)
        both = both.mul_(cos).addcmul_(turned, sin)
        new = both[:, heads:], three[:, heads + groups :]
        if self.cached:
            layer.keys.index_copy_(0, written, new[0])
            layer.values.index_copy_(0, written, new[1])
            new = layer.keys, layer.values
        keys, values = (
            held.reshape(self.rows, -1, groups, dim).transpose(1, 2)[:, :, :visible] for held in new
        )
        fed, shares = len(x) // self.rows, heads // groups
        if mask is None:
            query = both[:, :heads].view(self.rows, fed, heads, dim).transpose(1, 2)
            out = F.scaled_dot_product_attention(
                query, keys, values, is_causal=True, scale=layer.scaling, enable_gqa=shares > 1
            )
            return out.transpose(1, 2).reshape(-1, heads * dim)
        # the heads that share a key stand as further queries, so that no key is copied
        query = both[:, :heads].view(self.rows, fed, groups, shares * dim).transpose(1, 2)
        query = query.reshape(self.rows, groups, fed * shares, dim)
        out = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=layer.scaling
        )
        out = out.reshape(self.rows, groups, fed, shares * dim).transpose(1, 2)
        return out.reshape(-1, heads * dim)

    def _mask(self, kind: str, positions: Tensor, visible: int, shares: int) -> Tensor:
        """Additive, [rows, 1, fed * shares, visible]: slot j is seen from p iff 0 <= p - j < w."""
        slots = self.slots[:visible]
        hidden = slots > positions[..., None]
        if self._window(kind) < visible:
            hidden |= slots <= positions[..., None] - self._window(kind)
        mask = torch.zeros(hidden.shape, dtype=self.head.dtype, device=self.head.device)
        mask.masked_fill_(hidden, -torch.inf)
        mask = mask[:, :, None].expand(-1, -1, shares, -1)
        return mask.reshape(len(positions), 1, -1, visible)

    def _window(self, kind: str) -> int:
        return self.config.sliding_window if kind == "sliding_attention" else self.capacity

    def _rotary(self, kind: str) -> tuple[Tensor, Tensor]:
        """cos and sin of every position, the first half of sin negated (see _attend)."""
        rotary: Any = self.model.model.rotary_emb
        kinds = {} if type(self.model) is Qwen3ForCausalLM else {"layer_type": kind}
        cos, sin = rotary(self.head, self.slots[None], **kinds)
        sin = sin[0].clone()
        sin[:, : self.head_dim // 2] *= -1
        return cos[0], sin

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        shape = (self.rows * self.capacity * self.cached, self.groups, self.head_dim)
        gemma = hasattr(layer, "pre_feedforward_layernorm")
        query, key = self._norm(attention.q_norm), self._norm(attention.k_norm)
        own, shared = self.heads, self.groups
        on_heads = torch.cat([query.factor.expand(own, -1), key.factor.expand(shared, -1)])
        three = (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
        return _Layer(
            heads=Product(*three, copied=self.copied),
            out=Product(attention.o_proj.weight, copied=self.copied),
            gate=Product(mlp.gate_proj.weight, copied=self.copied),
            up=Product(mlp.up_proj.weight, copied=self.copied),
            down=Product(mlp.down_proj.weight, copied=self.copied),
            activation=mlp.act_fn.forward,  # nothing hangs on it: see fit
            before_attention=self._norm(layer.input_layernorm),
            on_heads=Norm(on_heads, query.eps, query.before_cast),
            after_attention=self._norm(layer.post_attention_layernorm) if gemma else None,
            before_mlp=self._norm(
                layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm
            ),
            after_mlp=self._norm(layer.post_feedforward_layernorm) if gemma else None,
            kind=attention.layer_type,
            scaling=attention.scaling,
            # zeros, not empty: a masked slot has weight 0, and 0 * nan would still be nan
            keys=self.head.new_zeros(shape),
            values=self.head.new_zeros(shape),
        )

    def _norm(self, module: Any) -> Norm:
        gemma = type(self.model) is Gemma3ForCausalLM
        weight, eps = module.weight, module.eps if gemma else module.variance_epsilon
        factor = 1.0 + weight.float() if gemma else weight
        return Norm(factor, torch.tensor(eps, device=weight.device), before_cast=gemma)


def _may_be_copied(model: PreTrainedModel, head: Tensor) -> bool:
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return size <= LARGEST_COPY and can_rearrange(head)


def _added(x: Tensor, update: Tensor, weight: Product, norm: Norm | None) -> Tensor:
    """x + norm(update @ weight.T)."""
    if norm is None:
        return weight.added(x, update)
    return x + norm(weight(update))


def _untouched(module: nn.Module) -> bool:
    """No hook, no replaced forward, no adapter in the place of a plain layer."""
    plain = type(module).__module__.startswith(("torch.nn.modules.", "transformers."))
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    # the framework's own, once it was asked for hidden states: it only looks
    foreign = [hook for hook in hooks if getattr(hook, "__module__", None) != _CAPTURING]
    return plain and not foreign and "forward" not in vars(module)
