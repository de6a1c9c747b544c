"""Putting a model folder into memory, whole or in four bits, with a sane number of threads."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

logger = logging.getLogger(__name__)


def use_threads(threads: int | Literal["auto"]) -> int:
    """Set the number of CPU threads torch uses, and return it.

    Two OpenMP threads on a busy two-core machine are 5-10 times slower than one, because each
    waits for the other at every barrier. ``auto`` therefore takes all cores only where the load of
    the last minute leaves them free. ``OMP_NUM_THREADS`` wins over ``auto``.
    """
    import torch

    if threads == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        cores = cores or 1
        wanted = os.environ.get("OMP_NUM_THREADS")
        if wanted and wanted.isdigit():
            threads = int(wanted)
        else:
            # our own threads of the last minute count into the load, so a run that keeps one core
            # busy must not be taken for a neighbour
            threads = cores if os.getloadavg()[0] < cores + 0.5 else 1
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
        logger.info("Using %d CPU thread%s", threads, "" if threads == 1 else "s")
    return threads


def has_bf16_cpu() -> bool:
    """Tell whether this CPU multiplies bfloat16 matrices in hardware (AMX or AVX512-BF16)."""
    import torch

    return bool(
        torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    )


def device() -> str:
    """Return where models go: ``cuda`` if there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer from a folder and make sure that it can pad.

    Llama 3.2 has no pad token; its reserved ``<|finetune_right_pad_id|>`` is made for this. Where
    a vocabulary has nothing of the kind, the end token pads (labels are masked by position, never
    by token id, so that is harmless).

    Raises:
        ValueError: The tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    # the clean-up is for word-piece vocabularies: on byte-level ones it eats spaces and warns
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, clean_up_tokenization_spaces=False
    )
    if not tokenizer.chat_template:
        raise ValueError(
            f"{folder}: the tokenizer has no chat template; use an instruction-tuned model"
        )
    if tokenizer.pad_token_id is None:
        llama_pad = "<|finetune_right_pad_id|>"
        tokenizer.pad_token = (
            llama_pad if llama_pad in tokenizer.get_vocab() else tokenizer.eos_token
        )
    return tokenizer


def load_model(
    folder: Path,
    dtype: Literal["float32", "bfloat16"] = "float32",
    on: Literal["device", "cpu"] = "device",
) -> Any:
    """Load a causal language model in evaluation mode.

    Args:
        folder: In the Hugging Face format, safetensors only.
        dtype: ``float32`` for exact comparisons, ``bfloat16`` for half the memory.
        on: ``device`` is the GPU if there is one; ``cpu`` keeps a model that is only rewritten
            (merged, exported) out of a GPU that could not hold it in float32.
    """
    import torch
    from transformers import AutoModelForCausalLM

    _hide_bars()
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
    )
    return model.to(device() if on == "device" else "cpu").eval()


def load_model_nf4(folder: Path, dtype: Literal["float32", "bfloat16"] = "bfloat16") -> Any:
    """Load a causal language model in NF4 with double quantisation (Dettmers et al. 2023).

    Linear layers take 4.127 bits a weight; embeddings and norms stay in ``dtype``, which is also
    what is computed in (``float32`` for a CPU without bfloat16 products). Never merge an adapter
    into the returned model: after a forward pass in evaluation mode on an AVX512-BF16 CPU its
    weights lie in another layout and the merge destroys them.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    _hide_bars()
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        quantization_config=quantisation,
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation="sdpa",
    )


def _hide_bars() -> None:
    """Turn off the library's bars: a model loads in seconds, and a log is not a terminal."""
    from transformers.utils import logging as library

    library.disable_progress_bar()
