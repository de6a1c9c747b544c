"""What a training has to run on: memory, and how fast it multiplies and moves numbers."""

import os
import time
from typing import Any, Literal

from pydantic import Field

from mental_slm.options import Options


class Hardware(Options):
    """A device. GB are 1e9 bytes."""

    name: str = Field(description="What people call it.")
    kind: Literal["cuda", "cpu"] = Field(description="Where tensors live.")
    memory_gb: float = Field(gt=0, description="All of its memory, in GB.")
    bf16: bool = Field(description="Multiplies bfloat16 in hardware; if not, float32 is used.")
    peak_tflops: float = Field(gt=0, description="Dense matrix products in the compute type.")
    bandwidth_gb: float = Field(gt=0, description="GB read and written per second.")
    origin: str = Field(description="Where the figures come from.")


def _card(name: str, memory_gb: float, peak_tflops: float, bandwidth_gb: float) -> Hardware:
    return Hardware(
        name=name,
        kind="cuda",
        memory_gb=memory_gb,
        bf16=True,
        peak_tflops=peak_tflops,
        bandwidth_gb=bandwidth_gb,
        origin="table",
    )


#: Dense bfloat16 products with float32 accumulation and bandwidth, from the vendor's data sheets;
#: H200 at the 790 TFLOP/s that large products reach there (its sheet says 989).
CARDS: dict[str, Hardware] = {
    "rtx3080": _card("RTX 3080", 10, 59.5, 760),
    "rtx3090": _card("RTX 3090", 24, 71, 936),
    "rtx4090": _card("RTX 4090", 24, 165, 1008),
    "a10g": _card("A10G", 24, 70, 600),
    "l4": _card("L4", 24, 121, 300),
    "l40s": _card("L40S", 48, 362, 864),
    "a100": _card("A100", 80, 312, 2039),
    "h100": _card("H100", 80, 790, 3350),
    "h200": _card("H200", 141, 790, 4200),
}

#: Taken for a card that the table does not know; slow enough not to promise too much.
UNKNOWN_CARD = _card("unknown card", 8, 40, 400)


#: GB/s at which a core writes out NF4 weights. Assumed: the choices of a plan must not depend on how
#: busy the machine is.
CPU_BANDWIDTH_GB = 20.0


def detect() -> Hardware:
    """Describe the device that a training on this machine would use.

    Memory is all there is, not what is free at this moment: the same machine must plan the same
    way twice, or a resumed training would find other settings.
    """
    import torch

    from mental_slm.language_model.loading import device, has_bf16_cpu

    if device() == "cuda":
        name = torch.cuda.get_device_name()
        known = next((card for key, card in CARDS.items() if key in _plain(name)), UNKNOWN_CARD)
        return known.model_copy(
            update={
                "name": name,
                "memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1),
                "bf16": torch.cuda.is_bf16_supported(),
                "origin": "table" if known is not UNKNOWN_CARD else "guess for a card not in it",
            }
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    bf16 = has_bf16_cpu()
    threads = torch.get_num_threads()
    return Hardware(
        name=f"CPU, {threads} thread{'' if threads == 1 else 's'}",
        kind="cpu",
        memory_gb=round(memory, 1),
        bf16=bf16,
        peak_tflops=_measure_products(torch.bfloat16 if bf16 else torch.float32),
        bandwidth_gb=CPU_BANDWIDTH_GB,
        origin="products measured, bandwidth assumed",
    )


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("geforce", "").replace("-", "")


def _measure_products(dtype: Any) -> float:
    """Return TFLOP/s of a product as wide as a small model's layers, to one digit.

    More digits would only say how busy the machine was.
    """
    import torch

    tokens, width, inner = 512, 576, 1536
    left = torch.ones(tokens, width, dtype=dtype)
    right = torch.ones(inner, width, dtype=dtype)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        torch.nn.functional.linear(left, right)
        times.append(time.perf_counter() - begin)
    return float(f"{2 * tokens * width * inner / min(times) / 1e12:.0e}")
