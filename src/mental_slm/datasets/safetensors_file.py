"""A look at safetensors files without their library: complete or not, and how many weights.

The format: 8 bytes with the length of the header (little endian), the header as JSON, the weights
(https://huggingface.co/docs/safetensors).
"""

import json
import math
from pathlib import Path

#: The largest header that the reference implementation accepts, in bytes.
MAX_HEADER_BYTES = 100_000_000


def count_weights(path: Path) -> int:
    """Return the number of weights in a safetensors file.

    Raises:
        ValueError: The file is missing, cut off, or something else.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise ValueError(f"{path.name} is no safetensors file")
        try:
            header = json.loads(file.read(length))
            tensors = [header[name] for name in header if name != "__metadata__"]
            end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
            weights = sum(math.prod(tensor["shape"]) for tensor in tensors)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{path.name} is cut off or no safetensors file") from error
    if (size := path.stat().st_size) != 8 + length + end:
        raise ValueError(f"{path.name} has {size} bytes instead of {8 + length + end}")
    return weights
