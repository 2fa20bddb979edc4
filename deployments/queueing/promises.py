"""When a refused request finds room, promised to its key.

A `Retry-After` is of use only if the room is still there when the client comes. So who is refused is given the next
place that nobody has been promised yet, and who comes after that leaves it free, or is promised a later one. A promise
is the key's: the first of its requests that comes in time has it.
"""

import heapq
from bisect import insort
from dataclasses import dataclass

GRACE_S = 2.0
"""How long a place is kept for one who is late."""
EARLY_S = 0.25
"""How much too early a client may come, whose clock is not ours."""
MAX_PROMISES = 20_000


@dataclass(eq=False, slots=True)
class _Promise:
    due: float
    key_id: str
    is_open: bool = True

    def __lt__(self, other: "_Promise") -> bool:
        return self.due < other.due


class Promises:
    """Promised places, by when they are due (monotonic seconds)."""

    def __init__(self) -> None:
        self._all: list[_Promise] = []
        self._by_key: dict[str, list[_Promise]] = {}
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def of(self, key_id: str) -> int:
        """Return how many a key has."""
        return len(self._by_key.get(key_id, ()))

    def give(self, key_id: str, due: float) -> None:
        """Promise a place; past `MAX_PROMISES` none is kept free."""
        if self._open < MAX_PROMISES:
            promise = _Promise(due, key_id)
            heapq.heappush(self._all, promise)
            insort(self._by_key.setdefault(key_id, []), promise)
            self._open += 1

    def redeem(self, key_id: str, now: float) -> bool:
        """Whether the key was promised a place that is due, which it then has had."""
        mine = self._by_key.get(key_id)
        if not mine or mine[0].due > now + EARLY_S:
            return False
        self._close(mine[0])
        return True

    def expire(self, now: float) -> None:
        """Forget promises that were due too long ago."""
        while self._all and (not self._all[0].is_open or self._all[0].due + GRACE_S < now):
            promise = heapq.heappop(self._all)
            if promise.is_open:
                self._close(promise)

    def _close(self, promise: _Promise) -> None:
        promise.is_open = False
        self._open -= 1
        mine = self._by_key[promise.key_id]
        mine.remove(promise)
        if not mine:
            del self._by_key[promise.key_id]
