"""The whole sample: all six data sets from one seed."""

import random
from pathlib import Path

from mental_slm.sample.composer import Register
from mental_slm.sample.depression_reddit import fabricate_depression_reddit
from mental_slm.sample.dreaddit import fabricate_dreaddit
from mental_slm.sample.isear import fabricate_isear
from mental_slm.sample.sdcnl import fabricate_sdcnl
from mental_slm.sample.studemo import fabricate_studemo
from mental_slm.storage import atomic_path

_FABRICATORS = (
    fabricate_dreaddit,
    fabricate_depression_reddit,
    fabricate_sdcnl,
    fabricate_isear,
    fabricate_studemo,
)


def fabricate(seed: int) -> dict[str, bytes]:
    """Write synthetic twins of the six data sets, in their upstream formats.

    Args:
        seed: Equal seeds give equal bytes.

    Returns:
        Content of each file by its path below the sample folder.
    """
    register = Register()
    files: dict[str, bytes] = {}
    for fabricator in _FABRICATORS:
        # A source of chance each: a change to one data set leaves the draws of the others alone.
        rng = random.Random(f"{seed}/{fabricator.__name__}")
        files |= fabricator(rng, register)
    return files


def write_sample(files: dict[str, bytes], folder: Path) -> None:
    """Write the files below ``folder``, each atomically."""
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
