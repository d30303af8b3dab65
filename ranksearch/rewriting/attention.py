"""`nn.MultiheadAttention` with its projections as four linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranksearch.rewriting.alike import parameter
from ranksearch.rewriting.base import Joined, Rewrite


class Attention(Joined):
    """Computes what `nn.MultiheadAttention` computes; `q_proj`, `k_proj`, `v_proj` and `out_proj` are linear layers.

    embed_dim: E. kdim, vdim: channels of keys and values. Arguments and results of `forward` are those of
    `nn.MultiheadAttention`.
    """

    # What nn.TransformerEncoderLayer asks for before it takes a fused kernel: with these answers it does not.
    in_proj_weight = None
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        kdim: int,
        vdim: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.q_proj = nn.Linear(embed_dim, embed_dim, bias=bias, device="meta")
        self.k_proj = nn.Linear(kdim, embed_dim, bias=bias, device="meta")
        self.v_proj = nn.Linear(vdim, embed_dim, bias=bias, device="meta")
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, device="meta")

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> Attention:
        """With the weights of a module."""
        written = cls(
            attention.embed_dim,
            attention.num_heads,
            kdim=attention.kdim,
            vdim=attention.vdim,
            dropout=attention.dropout,
            bias=attention.in_proj_bias is not None,
            batch_first=attention.batch_first,
        )
        biases: tuple[Tensor | None, ...] = (None,) * 3
        if attention.in_proj_bias is not None:
            biases = attention.in_proj_bias.chunk(3)
        if attention._qkv_same_embed_dim:
            weights = attention.in_proj_weight.chunk(3)
            trained = attention.in_proj_weight.requires_grad
        else:
            weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
            trained = any(weight.requires_grad for weight in weights)
        for layer, weight, bias in zip(written._inputs(), weights, biases, strict=True):
            _fill(cast(nn.Linear, layer), weight, bias, trained)
        out = attention.out_proj
        _fill(written.out_proj, out.weight, out.bias, out.weight.requires_grad)
        return written.train(attention.training)

    def _inputs(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.q_proj, self.k_proj, self.v_proj

    def joined(self) -> nn.Module | None:
        layers = [*self._inputs(), self.out_proj]
        if not all(type(layer) is nn.Linear for layer in layers):
            return None
        q, k, v, out = cast("list[nn.Linear]", layers)
        with torch.device("meta"):
            attention = nn.MultiheadAttention(
                self.embed_dim,
                self.num_heads,
                dropout=self.dropout,
                bias=q.bias is not None,
                kdim=k.in_features,
                vdim=v.in_features,
                batch_first=self.batch_first,
            )
        trained = q.weight.requires_grad
        weights = [layer.weight.detach() for layer in (q, k, v)]
        if attention._qkv_same_embed_dim:
            attention.in_proj_weight = parameter(torch.cat(weights), trained=trained)
        else:
            for name, weight in zip(
                ("q_proj_weight", "k_proj_weight", "v_proj_weight"), weights, strict=True
            ):
                setattr(attention, name, parameter(weight, trained=trained))
        if q.bias is not None:
            biases = torch.cat([layer.bias.detach() for layer in (q, k, v)])
            attention.in_proj_bias = parameter(biases, trained=q.bias.requires_grad)
        _fill(attention.out_proj, out.weight, out.bias, out.weight.requires_grad)
        return attention.train(self.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As of `nn.MultiheadAttention`.

        query: An (N, L, E) tensor, (L, N, E) unless `batch_first`, or (L, E). key, value: with S in place of L.
        """
        batched, swapped = query.dim() == 3, query.dim() == 3 and not self.batch_first
        query, key, value = (_batch_first(x, batched, swapped) for x in (query, key, value))
        heads = [self._split(layer(x)) for layer, x in zip(self._inputs(), (query, key, value), strict=True)]
        if is_causal and attn_mask is None:
            attn_mask = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool, device=query.device).triu(
                1
            )
        mask = self._mask(attn_mask, key_padding_mask, query)
        mixed, weights = self._mixed(heads, mask, need_weights)
        found = self.out_proj(mixed.transpose(1, 2).flatten(2))
        found = found if batched else found[0]
        if weights is not None:
            weights = weights.mean(dim=1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        return found.transpose(0, 1) if swapped else found, weights

    def _split(self, rows: Tensor) -> Tensor:
        """(N, L, E) → (N, heads, L, E / heads)."""
        split: Tensor = rows.unflatten(-1, (self.num_heads, self.head_dim))
        return split.transpose(1, 2)

    def _mask(self, given: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """What is added to the scores: (N or 1, heads or 1, L or 1, S)."""
        mask = None
        if given is not None:
            added = _added(given, like)
            mask = added.unflatten(0, (-1, self.num_heads)) if added.dim() == 3 else added[None, None]
        if padding is not None:
            added = _added(padding, like)
            added = (added if added.dim() == 2 else added[None])[:, None, None]
            mask = added if mask is None else mask + added
        return mask

    def _mixed(
        self, heads: Sequence[Tensor], mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v = heads
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout), None
        scores = q * self.head_dim**-0.5 @ k.mT
        weights = F.dropout((scores if mask is None else scores + mask).softmax(dim=-1), dropout)
        return weights @ v, weights


def _batch_first(tensor: Tensor, batched: bool, swapped: bool) -> Tensor:
    if not batched:
        return tensor[None]
    return tensor.transpose(0, 1) if swapped else tensor


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: where a boolean one is true, nothing is attended to."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def _fill(layer: nn.Linear, weight: Tensor, bias: Tensor | None, trained: bool) -> None:
    layer.weight = parameter(weight, trained=trained)
    if bias is not None:
        layer.bias = parameter(bias, trained=trained)


class WriteAttention(Rewrite):
    """Modules with learned extra keys and values, or with a row of zeros, stay as they are."""

    def applied(self, module: nn.Module) -> nn.Module | None:
        if type(module) is nn.TransformerEncoder:
            module.use_nested_tensor = False  # only the fused kernel takes nested ones
        if type(module) is not nn.MultiheadAttention:
            return None
        if module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
            return None
        return Attention.of(module)
