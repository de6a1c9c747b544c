"""A plain decoder with an explicit key-value cache, written to export into a small clean graph.

It computes what ``LlamaForCausalLM`` and ``Qwen2ForCausalLM`` compute (RMS norm, rotary positions,
grouped-query attention, gated MLP), with two differences of form: weights are stored as
``[in, out]``, so that a graph holds a bare ``MatMul`` with a constant, and grouped attention
broadcasts over the group instead of copying keys and values.

All layers of such a model are alike but for their weights. The decoder therefore has *one* layer,
and its forward pass also returns the values at the layer's border; :mod:`.export` stacks copies.
Weights stay uninitialised here: they flow from the safetensors files into the exported model.
"""

from typing import Any

import torch
from torch import Tensor, nn

#: Where a masked score ends up: low enough for a softmax of zero, finite for later quantisation.
MASKED = -1e9


class Projection(nn.Module):
    """A linear layer with its weight as ``[in, out]``."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.weight = _uninitialised(inputs, outputs)
        self.bias = _uninitialised(outputs) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Project ``[..., in]`` to ``[..., out]``."""
        product = torch.matmul(x, self.weight)
        return product if self.bias is None else product + self.bias


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = _uninitialised(width)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Scale the last axis to unit root mean square, then by the weight."""
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.epsilon) * self.weight


class Attention(nn.Module):
    """Grouped-query attention over cached and new keys (Ainslie et al. 2023)."""

    def __init__(self, config: Any, weights: set[str]):
        super().__init__()
        self.heads = config.num_attention_heads
        self.groups = config.num_key_value_heads
        self.size = head_size(config)

        def projection(name: str, inputs: int, outputs: int) -> Projection:
            return Projection(inputs, outputs, bias=f"self_attn.{name}.bias" in weights)

        width = config.hidden_size
        self.q_proj = projection("q_proj", width, self.heads * self.size)
        self.k_proj = projection("k_proj", width, self.groups * self.size)
        self.v_proj = projection("v_proj", width, self.groups * self.size)
        self.o_proj = projection("o_proj", self.heads * self.size, width)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend; see :class:`Decoder` for the shapes.

        Returns:
            Result ``[batch, sequence, width]`` and the extended keys and values.
        """
        batch, length, _ = x.shape

        def split(heads: Tensor, count: int) -> Tensor:
            return heads.reshape(batch, length, count, self.size).transpose(1, 2)

        query = rotate(split(self.q_proj(x), self.heads), cos, sin)
        new_key = rotate(split(self.k_proj(x), self.groups), cos, sin)
        key = torch.cat((past_key, new_key), 2)
        value = torch.cat((past_value, split(self.v_proj(x), self.groups)), 2)
        grouped = query.reshape(batch, self.groups, self.heads // self.groups, length, self.size)
        scores = torch.matmul(grouped * self.size**-0.5, key.transpose(2, 3).unsqueeze(2))
        mixed = torch.matmul(torch.softmax(scores + mask, -1), value.unsqueeze(2))
        joined = mixed.reshape(batch, self.heads, length, self.size).transpose(1, 2)
        return self.o_proj(joined.reshape(batch, length, self.heads * self.size)), key, value


class GatedMLP(nn.Module):
    """Feed-forward layer with a SiLU gate (Shazeer 2020)."""

    def __init__(self, config: Any, weights: set[str]):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Projection(width, inner, bias="mlp.gate_proj.bias" in weights)
        self.up_proj = Projection(width, inner, bias="mlp.up_proj.bias" in weights)
        self.down_proj = Projection(inner, width, bias="mlp.down_proj.bias" in weights)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., width]`` to ``[..., width]``."""
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, config: Any, weights: set[str]):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, weights)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = GatedMLP(config, weights)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        past_key: Tensor,
        past_value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer; returns hidden states and the extended keys and values."""
        attended, key, value = self.self_attn(
            self.input_layernorm(x), cos, sin, mask, past_key, past_value
        )
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), key, value


class Decoder(nn.Module):
    """Embedding, one layer, final norm and head.

    Args:
        config: Of the Hugging Face model.
        layer_weights: Names of the weights of one layer, without its prefix; tells which
            projections have a bias.
        tied: True where the head is the transposed embedding.
        rotary: The model's own rotary module, for its frequencies (Llama 3 scales them).
    """

    frequencies: Tensor

    def __init__(self, config: Any, layer_weights: set[str], tied: bool, rotary: Any):
        super().__init__()
        self.embed_tokens = nn.Embedding(
            config.vocab_size,
            config.hidden_size,
            _weight=_uninitialised(config.vocab_size, config.hidden_size),
        )
        self.layer = Layer(config, layer_weights)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = (
            None if tied else Projection(config.hidden_size, config.vocab_size, bias=False)
        )
        self.register_buffer("frequencies", rotary.inv_freq.detach().float(), persistent=False)
        self.rotary_scale = float(rotary.attention_scaling)

    def forward(
        self, input_ids: Tensor, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, ...]:
        """Run new tokens against a cache.

        Args:
            input_ids: ``[batch, sequence]``. All rows go on from the same position; there is no
                padding, which a phone's batch of one never needs.
            past_key: ``[batch, groups, past, head size]``; ``past`` may be 0.
            past_value: Same shape.

        Returns:
            Logits ``[batch, sequence, vocabulary]``, extended key and value, then the border of
            the layer: hidden states before and after, cosine and sine ``[sequence, head size]``,
            mask ``[sequence, past + sequence]``.
        """
        hidden = self.embed_tokens(input_ids)
        past = past_key.shape[2]
        positions = torch.arange(past + input_ids.shape[1], device=input_ids.device)
        new_positions = positions[past:].unsqueeze(1)
        half = new_positions.to(torch.float32) * self.frequencies
        angles = torch.cat((half, half), -1)
        cos, sin = angles.cos() * self.rotary_scale, angles.sin() * self.rotary_scale
        mask = torch.where(positions.unsqueeze(0) <= new_positions, 0.0, MASKED)
        after, key, value = self.layer(hidden, cos, sin, mask, past_key, past_value)
        last = self.norm(after)
        if self.lm_head is None:
            logits = torch.matmul(last, self.embed_tokens.weight.transpose(0, 1))
        else:
            logits = self.lm_head(last)
        return logits, key, value, hidden, after, cos, sin, mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to ``[batch, heads, sequence, head size]`` (Su et al. 2021)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def head_size(config: Any) -> int:
    """Return the width of one attention head."""
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def _uninitialised(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape), requires_grad=False)  # untouched memory costs nothing
