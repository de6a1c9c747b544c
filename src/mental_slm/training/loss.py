"""The loss of an answer, with the head computed where there is a label and nowhere else.

A vocabulary of 150,000 tokens makes the logits the largest tensor of a training step. Prompts have
no labels, so their logits are never needed; the others are made chunk by chunk, and since the head
is frozen, the gradient by the hidden state can be made in the same chunk (the idea of Liger Kernel's
fused linear cross entropy, Hsu et al. 2024). No more than ``CHUNK`` rows of logits ever exist.
"""

from typing import Any

import torch

from mental_slm.training import attention
from mental_slm.training.batches import IGNORED

#: Positions whose logits exist at once: 256 x 151,936 x 4 bytes = 156 MB for the widest vocabulary.
CHUNK = 256


class HeadNotPlain(ValueError):
    """The model's logits are not its head applied to its hidden states."""


def answer_loss(model: Any, batch: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """Return the summed cross entropy of all labelled tokens of a batch, in nats.

    Args:
        model: A causal language model, bare or with a PEFT adapter around it.
        batch: From :func:`mental_slm.training.batches.collate`.
        dtype: Type to compute in. ``torch.bfloat16`` opens an autocast here: calling the decoder
            itself goes past the wrapper which the Trainer would put around ``forward``.

    Returns:
        A scalar in float32 (float64 if the model is), differentiable by the adapter.
    """
    causal = _bare(model)
    extra: dict[str, Any] = {}
    if causal.config._attn_implementation == attention.NAME:
        wide = dtype if dtype == torch.bfloat16 else causal.dtype
        extra["blocks"] = attention.cut_blocks(batch["position_ids"], wide)
    with torch.autocast(causal.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        hidden = causal.base_model(
            input_ids=batch["input_ids"].to(causal.device),
            position_ids=batch["position_ids"].to(causal.device),
            use_cache=False,  # with a cache, positions would not keep packed pairs apart
            **extra,
        ).last_hidden_state
    targets = batch["labels"][:, 1:].to(hidden.device)  # a position predicts the token after it
    labelled = targets.ne(IGNORED)
    return labelled_cross_entropy(
        hidden[:, :-1][labelled], causal.get_output_embeddings().weight, targets[labelled]
    )


def labelled_cross_entropy(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, chunk: int = CHUNK
) -> torch.Tensor:
    """Return the summed cross entropy of ``hidden @ head.T`` against ``targets``.

    Args:
        hidden: Hidden states of the labelled positions, shape (positions, width).
        head: Frozen weight of the head, shape (vocabulary, width).
        targets: Token ids, shape (positions,).
        chunk: Positions per chunk; changes memory, not the result.

    Returns:
        A scalar in float32 (float64 for float64 input) with a gradient by ``hidden``.
    """
    loss: torch.Tensor = _FrozenHeadCrossEntropy.apply(hidden.to(head.dtype), head, targets, chunk)
    return loss


class _FrozenHeadCrossEntropy(torch.autograd.Function):
    """Cross entropy whose backward pass only scales what the forward pass has made."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=exact, device=hidden.device)
        gradient = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            wanted = targets[part].unsqueeze(-1)
            logits = (hidden[part] @ head.T).to(exact)
            logits.sub_(logits.amax(-1, keepdim=True))
            total -= logits.gather(-1, wanted).sum()
            # in place, and once for the loss and its gradient: these passes are over the largest
            # tensor of a step
            weights = logits.exp_()
            sums = weights.sum(-1, keepdim=True)
            total += sums.log().sum()
            if gradient is not None:
                # d loss / d logits = softmax - one-hot
                weights.scatter_add_(-1, wanted, -sums)
                gradient[part] = (weights.to(head.dtype) @ head) / sums
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *scales: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scales[0].to(gradient.dtype), None, None, None


@torch.no_grad()
def check_head(model: Any, input_ids: list[int]) -> None:
    """Make sure that a family has a plain head, by comparing its own logits with ours once.

    Some families scale or cap their logits; the loss above would then train on other numbers than
    the model speaks with.

    Raises:
        HeadNotPlain: With the largest difference.
    """
    causal = _bare(model)
    ids = torch.tensor([input_ids], device=causal.device)
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
    head = causal.get_output_embeddings().weight
    own = causal(input_ids=ids, use_cache=False).logits.float()
    ours = (hidden.to(head.dtype) @ head.T).float()
    if not own.isfinite().all():
        raise ValueError(
            f"{causal.config._name_or_path}: says nan before any training, so its weights are "
            "damaged; obtain the base model again"
        )
    difference = (own - ours).abs().max().item()
    # two bfloat16 matrix products may differ in the last of their 8 bits
    if not difference <= 0.02 * own.abs().max().item() + 1e-3:
        raise HeadNotPlain(
            f"{type(causal).__name__}: its logits are not its head times its hidden states (off by "
            f"{difference:.3g}); this family scales or caps them, which this loss does not do"
        )


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
