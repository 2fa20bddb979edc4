"""A map of bounded weight whose entries expire; the least recently used go first."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    value: V
    weight: int
    expires_at: float


class ExpiringMap(Generic[V]):
    """Keeps up to `max_bytes` of values; one larger than an eighth of that is not kept."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._clock = clock
        self._held: OrderedDict[str, _Held[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> V | None:
        """Return the value and make it the most recently used; None if there is none or it has expired."""
        held = self._held.get(key)
        if held is None:
            return None
        if held.expires_at <= self._clock():
            self.discard(key)
            return None
        self._held.move_to_end(key)
        return held.value

    def put(self, key: str, value: V, size_bytes: int, ttl_s: float) -> None:
        """Keep the value for `ttl_s` seconds at most; its weight is `size_bytes` and what the key and the map take."""
        self.discard(key)
        weight = size_bytes + len(key) + 200
        if weight > self.max_bytes // 8:
            return
        self._held[key] = _Held(value, weight, self._clock() + ttl_s)
        self.held_bytes += weight
        self.drop()

    def drop(self) -> None:
        """Forget what there is no room for, and, up to the first that has not, those that have expired unused."""
        now = self._clock()
        while self._held:
            oldest = next(iter(self._held.values()))
            if self.held_bytes <= self.max_bytes and oldest.expires_at > now:
                return
            self._held.popitem(last=False)
            self.held_bytes -= oldest.weight

    def discard(self, key: str) -> None:
        """Forget the key, if it is there."""
        held = self._held.pop(key, None)
        if held is not None:
            self.held_bytes -= held.weight

    def discard_prefix(self, prefix: str) -> int:
        """Forget every key that begins with `prefix`; return how many there were."""
        found = [key for key in self._held if key.startswith(prefix)]
        for key in found:
            self.discard(key)
        return len(found)
