"""The embeddings of one tenant's questions, and the answers beside them."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.outputs import Generation
from numpy.typing import NDArray

Vector = NDArray[np.float32]

SAME = 0.9999
"""A similarity of what is the same text: its new answer takes the place of the old one."""
FIRST_ROWS = 64
ROW_BYTES = 64
"""What an entry has beside its vector and its answer."""


class Vectors:
    """At most `capacity` of them, compared one by one; the newest takes the place of the oldest.

    A look-up among 10,000 vectors of 384 numbers takes a few milliseconds.
    """

    def __init__(self, dimensions: int, capacity: int) -> None:
        self.dimensions = dimensions
        self.held_bytes = 0
        self._capacity = capacity
        self._next = 0
        self._answers: list[Sequence[Generation]] = []
        self._sizes: list[int] = []
        rows = min(FIRST_ROWS, capacity)
        self._vectors: NDArray[np.float32] = np.zeros((rows, dimensions), np.float32)
        self._scopes: NDArray[Any] = np.zeros((rows, 4), np.uint64)
        self._expires_at: NDArray[np.float64] = np.zeros(rows, np.float64)

    def nearest(self, scope: bytes, vector: Vector, least: float) -> Sequence[Generation] | None:
        """Return the answer to the most similar question of the scope that has not expired; None below `least`."""
        best, similarity = self._nearest(scope, vector)
        return self._answers[best] if similarity >= least else None

    def add(self, scope: bytes, vector: Vector, answer: Sequence[Generation], ttl_s: float, size: int) -> None:
        """Keep an answer of `size` bytes for `ttl_s` seconds."""
        best, similarity = self._nearest(scope, vector)
        at = best if similarity >= SAME else self._free()
        weight = size + self.dimensions * 4 + ROW_BYTES
        self.held_bytes += weight - self._sizes[at]
        self._answers[at], self._sizes[at] = answer, weight
        self._vectors[at], self._scopes[at] = vector, _words(scope)
        self._expires_at[at] = time.time() + ttl_s

    def _nearest(self, scope: bytes, vector: Vector) -> tuple[int, float]:
        count = len(self._answers)
        if not count or len(vector) != self.dimensions:
            return 0, -1.0
        similarity = self._vectors[:count] @ vector
        other = (self._scopes[:count] != _words(scope)).any(axis=1) | (self._expires_at[:count] <= time.time())
        similarity[other] = -1.0
        best = int(similarity.argmax())
        return best, float(similarity[best])

    def _free(self) -> int:
        """Return the row for a new entry; whatever was there is dropped."""
        if len(self._answers) < self._capacity:
            self._answers.append(())
            self._sizes.append(0)
            if len(self._answers) > len(self._vectors):
                self._grow()
            return len(self._answers) - 1
        at = self._next
        self._next = (at + 1) % self._capacity
        return at

    def _grow(self) -> None:
        rows = min(2 * len(self._vectors), self._capacity)
        for name in ("_vectors", "_scopes", "_expires_at"):
            old: NDArray[Any] = getattr(self, name)
            new: NDArray[Any] = np.zeros((rows, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


def _words(scope: bytes) -> NDArray[np.uint64]:
    """Return a hash of 32 bytes as four numbers."""
    return np.frombuffer(scope, np.uint64)
