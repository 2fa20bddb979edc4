"""Reads the tensors of a CTranslate2 file (https://github.com/OpenNMT/CTranslate2, version 6), without CTranslate2.

The file is little-endian: a version, the name and revision of the model's kind, and the number of tensors; for each
its name, rank, dimensions, type, bytes and content. Texts have a 16-bit length, which includes a closing zero. Its
claims are not believed: whatever leads out of the file is a `DamagedFile`.
"""

import math
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

VERSION = 6
TYPES: Mapping[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
MAX_TENSORS = 100_000
MAX_RANK = 8


class DamagedFile(Exception):
    """The file is not of this format; the text is a sentence's end."""


def tensors(data: bytes | memoryview, kind: str) -> dict[str, npt.NDArray[np.generic]]:
    """Return the tensors of a model of that kind, as views of `data`, by their names."""
    reader = _Reader(memoryview(data))
    try:
        if reader.number("I") != VERSION or reader.text() != kind:
            raise DamagedFile(f"it is no {kind} of version {VERSION}")
        reader.number("I")
        count = reader.number("I")
        if count > MAX_TENSORS:
            raise DamagedFile("it claims to hold too many tensors")
        return dict(reader.tensor() for _ in range(count))
    except (struct.error, UnicodeDecodeError):
        raise DamagedFile("it was cut short") from None


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def text(self) -> str:
        return bytes(self._taken(self.number("H")))[:-1].decode()

    def tensor(self) -> tuple[str, npt.NDArray[np.generic]]:
        name, rank = self.text(), self.number("B")
        if rank > MAX_RANK:
            raise DamagedFile(f"the rank of {name[:80]} is {rank}")
        shape = [self.number("I") for _ in range(rank)]
        type_number, size = self.number("B"), self.number("I")
        if type_number not in TYPES or size != math.prod(shape) * np.dtype(TYPES[type_number]).itemsize:
            raise DamagedFile(f"the size of {name[:80]} is not that of its values")
        return name, np.frombuffer(self._taken(size), TYPES[type_number]).reshape(shape)

    def _taken(self, size: int) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise DamagedFile("it was cut short")
        return self._data[start : self._at]
