"""The newest events of a response that runs on this replica, for those who follow it here."""

import asyncio
from collections.abc import Iterable

from deployments.responses.types import Batch


class LiveEvents:
    """Events in the order of their numbers, which have no gap.

    Its runner takes a `batch` to the store and confirms it with `written`; events
    stay here until the batch after theirs is written as well, so that a follower
    which keeps up never asks the store. One that does not finds `past` to be None.
    """

    def __init__(self, first: int = 0) -> None:
        self.is_over = False
        self._frames: list[bytes] = []
        self._first = first  # the number of the oldest event here
        self._stored = first  # the number before which all are in the store
        self._taken = first  # the same once the batch under way is written
        self._is_left = False
        self._grown = asyncio.Event()

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self._first + len(self._frames)

    def add(self, frames: Iterable[bytes]) -> None:
        """Add the next events."""
        self._frames.extend(frames)
        self._wake()

    def end(self) -> None:
        """Note that no event will follow."""
        self.is_over = True
        self._wake()

    def leave(self) -> None:
        """Send the followers to the store: it is no longer here that the response runs."""
        self._is_left = True
        self._wake()

    def batch(self) -> Batch | None:
        """Return what to write next: the same batch until it is `written`, since its outcome may be unknown."""
        if self._taken == self._stored:
            self._taken = self.next_number
        if self._taken == self._stored:
            return None
        return Batch(self._taken - 1, self._joined(self._stored, self._taken))

    def written(self) -> None:
        """Note that the last batch is in the store."""
        del self._frames[: self._stored - self._first]
        self._first, self._stored = self._stored, self._taken

    def unwritten(self) -> bytes:
        """Return all events that are not known to be in the store."""
        return self._joined(self._stored, self.next_number)

    def past(self, number: int) -> bytes | None:
        """Return the events past that one; None if only the store can tell them."""
        if self._is_left or number + 1 < self._first:
            return None
        return self._joined(number + 1, self.next_number)

    async def more_than(self, number: int) -> None:
        """Wait until there are events past that one, or none will come."""
        while not (self.next_number > number + 1 or self.is_over or self._is_left):
            await self._grown.wait()

    def _joined(self, first: int, end: int) -> bytes:
        return b"".join(self._frames[first - self._first : end - self._first])

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
