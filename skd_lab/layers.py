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

_KNOWN = {Qwen3ForCausalLM: Qwen3Config, Gemma3ForCausalLM: Gemma3TextConfig}
# where the transposed product was the faster one: 10.1 to 6.1 ms for 8 tokens at 384 x 32,000
_FEW, _WIDE = 8, 8192
_CAPTURING = "transformers.utils.output_capturing"
# rotary embeddings that are a table: the others change with the length of the text
_TABLES = {"default", "linear", "llama3", "yarn"}


@dataclass(frozen=True, eq=False)
class _Norm:
    """x / rms(x), times a factor; in float32, as the modules do it."""

    factor: Tensor
    eps: Tensor
    before_cast: bool
    """Gemma multiplies in float32, Qwen in the dtype of its weights."""

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        if x.dtype == torch.float32:
            length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            scale = torch.addcmul(self.eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        else:  # their float32 norm must round as the modules' does, or float64 is lost here
            scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        if self.before_cast:
            return (wide * scale).mul_(self.factor).to(x.dtype)
        return (wide * scale).to(x.dtype).mul_(self.factor)


@dataclass(eq=False)
class _Layer:
    """One layer's weights, and its keys and values [rows * capacity, heads, head_dim]."""

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    activation: Callable[[Tensor], Tensor]
    before_attention: _Norm
    on_heads: _Norm
    after_attention: _Norm | None
    before_mlp: _Norm
    after_mlp: _Norm | None
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
    """

    def __init__(self, model: PreTrainedModel, rows: int, capacity: int, cached: bool = True):
        self.model, self.rows, self.capacity, self.cached = model, rows, capacity, cached
        self.config = config = model.config.get_text_config()
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.head_dim: int = config.head_dim
        self.slots = torch.arange(capacity, device=model.device)
        self.first_slot = capacity * torch.arange(rows, device=model.device)
        body: Any = model.model
        self.embed, self.head = body.embed_tokens, model.get_output_embeddings().weight
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.last_norm = self._norm(body.norm)
        self.layers = [self._layer(layer) for layer in body.layers]
        self.turns = {kind: self._rotary(kind) for kind in {layer.kind for layer in self.layers}}

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
        x = self.embed(ids.reshape(-1))
        for layer in self.layers:
            mask = masks[layer.kind]
            narrow = layer.before_attention(x)
            attended = self._attend(layer, narrow, turns[layer.kind], written, mask, visible)
            x = _added(x, attended, layer.out, layer.after_attention)
            narrow = layer.before_mlp(x)
            wide = layer.activation(F.linear(narrow, layer.gate)).mul_(F.linear(narrow, layer.up))
            x = _added(x, wide, layer.down, layer.after_mlp)
        return self.last_norm(x).view(rows, fed, -1)

    def logits(self, hidden: Float[Tensor, "rows fed hidden"]) -> Float[Tensor, "rows fed vocab"]:
        """The output head."""
        if (
            hidden.device.type == "cpu"
            and hidden[..., 0].numel() <= _FEW
            and len(self.head) >= _WIDE
        ):
            # a CPU's product of few rows and a wide head reads the head at half its speed
            columns = torch.mm(self.head, hidden.reshape(-1, hidden.shape[-1]).t())
            logits = columns.t().contiguous().view(*hidden.shape[:-1], len(self.head))
        else:
            logits = F.linear(hidden, self.head)
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
        # queries and keys as one tensor of heads: normed and turned together
        both = torch.cat([F.linear(x, layer.query), F.linear(x, layer.key)], dim=1)
        both = layer.on_heads(both.view(-1, heads + groups, dim))
        turned = torch.cat((both[..., half:], both[..., :half]), dim=-1).mul_(sin)
        both = both.mul_(cos).add_(turned)
        new = both[:, heads:], F.linear(x, layer.value).view(-1, groups, dim)
        if self.cached:
            layer.keys.index_copy_(0, written, new[0])
            layer.values.index_copy_(0, written, new[1])
            new = layer.keys, layer.values
        keys, values = (
            held.view(self.rows, -1, groups, dim)[:, :visible].transpose(1, 2) for held in new
        )
        fed, shares = len(x) // self.rows, heads // groups
        if mask is None:
            query = both[:, :heads].view(self.rows, fed, heads, dim).transpose(1, 2)
            out = F.scaled_dot_product_attention(
                query, keys, values, is_causal=True, scale=layer.scaling, enable_gqa=shares > 1
            )
            return out.transpose(1, 2).reshape(-1, heads * dim)
        # the heads that share a key stand as further queries, so that no key is copied
        query = both[:, :heads].reshape(self.rows, fed, groups, shares * dim).transpose(1, 2)
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
        return _Layer(
            query=attention.q_proj.weight,
            key=attention.k_proj.weight,
            value=attention.v_proj.weight,
            out=attention.o_proj.weight.t(),
            gate=mlp.gate_proj.weight,
            up=mlp.up_proj.weight,
            down=mlp.down_proj.weight.t(),
            activation=mlp.act_fn,
            before_attention=self._norm(layer.input_layernorm),
            on_heads=_Norm(on_heads, query.eps, query.before_cast),
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

    def _norm(self, module: Any) -> _Norm:
        gemma = type(self.model) is Gemma3ForCausalLM
        weight, eps = module.weight, module.eps if gemma else module.variance_epsilon
        factor = 1.0 + weight.float() if gemma else weight
        return _Norm(factor, torch.tensor(eps, device=weight.device), before_cast=gemma)


def _added(x: Tensor, update: Tensor, weight: Tensor, norm: _Norm | None) -> Tensor:
    """x + norm(update @ weight)."""
    if norm is None:
        return torch.addmm(x, update, weight)
    return x + norm(update @ weight)


def _untouched(module: nn.Module) -> bool:
    """No hook, no replaced forward, no adapter in the place of a plain layer."""
    plain = type(module).__module__.startswith(("torch.nn.modules.", "transformers."))
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    # the framework's own, once it was asked for hidden states: it only looks
    foreign = [hook for hook in hooks if getattr(hook, "__module__", None) != _CAPTURING]
    return plain and not foreign and "forward" not in vars(module)
