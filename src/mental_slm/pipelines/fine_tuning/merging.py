"""Adding an adapter to its base model, and the proof that nothing was lost.

The sum is made in float32, on weights freshly read from disk. Merging into the 4-bit model that was
trained with would round twice, and after a validation on a CPU with AVX512-BF16 it destroys the
model (bitsandbytes repacks the weights, PEFT reads them as if it had not).
"""

import gc
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from mental_slm.language_model.chat import EncodedPair, stop_token_ids
from mental_slm.language_model.loading import load_model, load_model_nf4, load_tokenizer
from mental_slm.references import AdapterRef, ModelRef
from mental_slm.safety import INTENDED_USE
from mental_slm.training.batches import PackedRows, collate
from mental_slm.training.options import MergeOptions
from mental_slm.training.trainer import mean_loss

logger = logging.getLogger(__name__)


class MergeLost(RuntimeError):
    """The merged model does not say what base and adapter say together."""


def merge(
    base: ModelRef,
    adapter: AdapterRef,
    check: Sequence[EncodedPair],
    options: MergeOptions,
    folder: Path,
) -> dict[str, Any]:
    """Merge into ``folder`` and measure the loss of the base, of both apart, and of the result.

    Args:
        base: The model the adapter was trained on.
        adapter: The adapter.
        check: The pairs the losses are measured on.
        options: Which weights are added to, type of the saved ones, allowed difference.
        folder: Receives config, safetensors, tokenizer, generation config and model card. An
            older one is replaced.

    Returns:
        The report; losses in nats per answer token.

    Raises:
        ValueError: The adapter belongs to another base model.
        MergeLost: The losses before and after differ by more than the tolerance.
    """
    if adapter.base_digest != base.digest:
        raise ValueError(
            f"{adapter.path}: this adapter was trained on {adapter.base_name} "
            f"({adapter.base_digest}), not on {base.name} ({base.digest}); train it again"
        )
    batches = _one_by_one(check)
    model = PeftModel.from_pretrained(_load_base(base, options), adapter.path)
    with model.disable_adapter():
        base_loss = mean_loss(model, batches, torch.float32)
    apart = mean_loss(model, batches, torch.float32)
    merged = model.merge_and_unload(safe_merge=True)
    _save(merged, base, options, folder)
    del model, merged
    gc.collect()
    together = mean_loss(
        load_model(folder, on="cpu"), batches, torch.float32
    )  # what lies on the disk
    difference = abs(together - apart)
    report = {
        "base_loss": base_loss,
        "adapter_loss": apart,
        "merged_loss": together,
        "difference": difference,
        "tolerance": options.tolerance,
        "pairs": len(check),
        "answer_tokens": sum(len(pair.input_ids) - pair.prompt_length for pair in check),
        "base": options.base,
        "dtype": options.dtype,
        "size_mb": round(sum(f.stat().st_size for f in folder.glob("*.safetensors")) / 1e6, 1),
    }
    (folder / "README.md").write_text(_card(base, adapter, report), "utf-8")
    logger.info(
        "loss on %d pairs: base %.4f, with adapter %.4f, merged %.4f (%s)",
        len(check),
        base_loss,
        apart,
        together,
        options.dtype,
    )
    if not difference <= options.tolerance:
        raise MergeLost(
            f"the loss moved from {apart:.4f} to {together:.4f} by merging, more than "
            f"fine_tuning.merge.tolerance ({options.tolerance}); use fine_tuning.merge.dtype=float32 "
            "or find out what changed"
        )
    return report


def _load_base(base: ModelRef, options: MergeOptions) -> Any:
    """Load the weights to add to, in float32, from the disk: never those that were trained with."""
    if options.base == "unquantised":
        return load_model(base.path, on="cpu")
    # no forward pass before this: in evaluation mode that would repack the 4-bit weights for good
    return load_model_nf4(base.path, dtype="float32").dequantize().to("cpu").eval()


def _card(base: ModelRef, adapter: AdapterRef, report: dict[str, Any]) -> str:
    weights = (
        "its NF4 weights, multiplied out" if report["base"] == "dequantised" else "its weights"
    )
    return f"""---
library_name: transformers
pipeline_tag: text-generation
base_model: {base.name}
---

# {base.name}-tuned

{base.name} ({base.parameters / 1e6:.0f} M weights, digest `{base.digest}`) with a LoRA adapter
(digest `{adapter.digest}`) added to {weights}, saved in {report["dtype"]}. The licence of the base
model applies.

**Intended use.** {INTENDED_USE}

| loss on {report["pairs"]} validation pairs | nats per answer token |
| --- | --- |
| base model | {report["base_loss"]:.4f} |
| base model and adapter apart | {report["adapter_loss"]:.4f} |
| this model | {report["merged_loss"]:.4f} |

Prompts follow the chat template in this folder; generation stops at the tokens in
`generation_config.json`.
"""


def _one_by_one(pairs: Sequence[EncodedPair]) -> list[dict[str, torch.Tensor]]:
    rows = PackedRows(pairs, [[index] for index in range(len(pairs))])
    return [collate([rows[index]]) for index in range(len(pairs))]


def _save(model: Any, base: ModelRef, options: MergeOptions, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = load_tokenizer(base.path)
    model.to(getattr(torch, options.dtype))
    # a chat model must stop at the end of its turn, whatever the base's own list says
    model.generation_config.eos_token_id = stop_token_ids(tokenizer, base.path)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
