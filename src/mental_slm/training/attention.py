"""Attention over packed rows that skips what it may not see.

transformers hides packed pairs from each other with a dense mask: all scores of a row are computed,
and most are thrown away. Here a row goes through in blocks of queries. Each block meets the keys
from the start of its first pair to its own end, and no others, so that a row of short pairs costs
little and a causal row half. The products run as plain batched matrix products; on a CPU these reach
the bfloat16 units, which torch 2.13's own attention kernel does not: 5 ms instead of 16 ms per layer
and row of 412 tokens (SmolLM2-135M, forward and backward, one thread of a Zen 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

#: Name in a model's config.
NAME = "packed_blocks"

#: Queries per block: 64 to 256 are equally fast, more wastes more of the causal triangle.
QUERIES = 128


@dataclass(frozen=True)
class Block:
    """Some queries of one row and the keys that they may see.

    Attributes:
        row: Of the batch.
        queries: Their positions in the row.
        keys: Positions of the keys.
        bias: 0 where a query sees a key, else minus infinity; shape (1, queries, keys).
    """

    row: int
    queries: slice
    keys: slice
    bias: torch.Tensor


def use_packed_attention(model: Any) -> None:
    """Let a model compute attention in blocks where it is given them; see :func:`cut_blocks`.

    Models with sliding windows keep what they have: a block knows nothing of windows.
    """
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"]
    if set(kinds) == {"full_attention"}:
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)


def cut_blocks(position_ids: torch.Tensor, dtype: torch.dtype) -> list[Block]:
    """Cut a batch of packed rows into blocks.

    Args:
        position_ids: Shape (rows, tokens); a pair begins wherever they are 0.
        dtype: Of the queries and keys.
    """
    length = position_ids.shape[1]
    positions = torch.arange(length)
    blocks = []
    for row, own in enumerate(position_ids.cpu()):
        starts = positions - own  # where the pair of each token begins
        for begin in range(0, length, QUERIES):
            end = min(begin + QUERIES, length)
            first = int(starts[begin])
            keys = positions[None, first:end]
            hidden = (keys > positions[begin:end, None]) | (keys < starts[begin:end, None])
            bias = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
            blocks.append(Block(row, slice(begin, end), slice(first, end), bias[None]))
    return blocks


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    blocks: Sequence[Block] | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention as transformers asks for it: heads come in second and leave third."""
    if blocks is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **settings
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _BlockAttention.apply(query, key, value, blocks, scale), None


class _BlockAttention(torch.autograd.Function):
    """Softmax attention, block by block, with the gradient written out.

    Several query heads share a key head (Ainslie et al. 2023). They are laid one below the other
    as the rows of one matrix product, so that keys and values are never repeated.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: Sequence[Block],
        scale: float,
    ) -> torch.Tensor:
        rows, heads, length, width = query.shape
        groups = key.shape[1]
        answer = query.new_empty(rows, length, heads, width)
        weights = []
        for block in blocks:
            keys, values = key[block.row, :, block.keys], value[block.row, :, block.keys]
            queries = _stack(query[block.row, :, block.queries], groups)
            bias = block.bias.repeat(1, heads // groups, 1)
            scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scale)
            weights.append(scores.softmax(-1))
            mixed = _unstack(torch.bmm(weights[-1], values), heads)
            answer[block.row, block.queries] = mixed.transpose(0, 1)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.blocks, ctx.scale = blocks, scale
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        heads, groups = query.shape[1], key.shape[1]
        upstream = gradients[0].transpose(1, 2)
        by_query = torch.empty_like(query)
        # blocks share keys: their gradients are summed in float32
        exact = torch.promote_types(key.dtype, torch.float32)
        by_key = torch.zeros(key.shape, dtype=exact, device=key.device)
        by_value = torch.zeros_like(by_key)
        for block, weight in zip(ctx.blocks, weights, strict=True):
            keys, values = key[block.row, :, block.keys], value[block.row, :, block.keys]
            queries = _stack(query[block.row, :, block.queries], groups)
            error = _stack(upstream[block.row, :, block.queries], groups)
            by_value[block.row, :, block.keys] += torch.bmm(weight.transpose(1, 2), error)
            by_weight = torch.bmm(error, values.transpose(1, 2))
            by_score = torch._softmax_backward_data(by_weight, weight, -1, weight.dtype)
            by_query[block.row, :, block.queries] = _unstack(torch.bmm(by_score, keys), heads)
            by_key[block.row, :, block.keys] += torch.bmm(by_score.transpose(1, 2), queries)
        return (
            by_query.mul_(ctx.scale),
            by_key.mul_(ctx.scale).to(key.dtype),
            by_value.to(value.dtype),
            None,
            None,
        )


def _stack(heads: torch.Tensor, groups: int) -> torch.Tensor:
    """Lay the heads of a group one below the other: (groups, heads per group x tokens, width)."""
    return heads.reshape(groups, -1, heads.shape[-1])


def _unstack(stacked: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo :func:`_stack`: (heads, tokens, width)."""
    return stacked.reshape(heads, -1, stacked.shape[-1])
