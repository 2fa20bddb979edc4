"""Writes tensors in bfloat16 to a safetensors file, one at a time, so that only the largest is in memory.

The format: 8 bytes with the length of a JSON header, the header with dtype, shape and place of each tensor,
then their bytes without gaps (https://github.com/huggingface/safetensors#format). numpy has no bfloat16,
and importing torch for it would take longer than the whole conversion.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
HEADER_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose values are computed when they are written."""

    shape: tuple[int, ...]
    values: Callable[[], FloatArray]


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the file and wait until it is on the disk; ValueError if values are not finite or have another shape."""
    end, entries = 0, dict[str, object]()
    for name, tensor in tensors.items():
        begin, end = end, end + 2 * math.prod(tensor.shape)
        entries[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % HEADER_ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, tensor in tensors.items():
            values = tensor.values()
            if values.shape != tensor.shape or not np.isfinite(values).all():
                raise ValueError(f"the tensor {name} is damaged")
            file.write(bfloat16(values).tobytes())
        file.flush()
        os.fsync(file.fileno())


def bfloat16(values: FloatArray) -> npt.NDArray[np.uint16]:
    """Round finite values to the nearest bfloat16, to the even one in the middle; returned are their bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
