"""The header of a safetensors file: whether the file is whole, and what it holds.

https://huggingface.co/docs/safetensors/index#format: eight bytes with the header's length (little endian), the
header in JSON, then the tensors' bytes, which end where the file ends.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

MAX_HEADER_BYTES = 100_000_000
"""As safetensors itself has it."""
LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's type, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


class NotSafetensors(ValueError):
    """The file is not whole, or not of this format; the text says how."""


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by their names; NotSafetensors says what is wrong with it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > MAX_HEADER_BYTES or length + LENGTH_BYTES > size:
            raise NotSafetensors("its header is not one of safetensors")
        try:
            found: Any = json.loads(file.read(length))
            tensors = {name: _tensor(entry) for name, entry in found.items() if name != "__metadata__"}
            ends = [int(entry["data_offsets"][1]) for name, entry in found.items() if name != "__metadata__"]
        except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
            raise NotSafetensors("its header is not one of safetensors") from None
    expected = LENGTH_BYTES + length + max(ends, default=0)
    if expected != size:
        raise NotSafetensors(f"it has {size:,} bytes, and {expected:,} by its header")
    return tensors


def fault_of(path: Path) -> str:
    """Return what is wrong with a file, "" if nothing is found in its header and its size."""
    try:
        read_header(path)
    except NotSafetensors as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _tensor(entry: Any) -> Tensor:
    first, end = cast(list[int], entry["data_offsets"])
    return Tensor(str(entry["dtype"]), tuple(int(one) for one in entry["shape"]), int(end) - int(first))
