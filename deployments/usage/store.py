"""The interface of the usage store."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Protocol

from deployments.usage.types import Grouping, Place, Row, Used


class UsageStore(Protocol):
    """Usage by key, day and model.

    Everywhere: `HistoryUnavailable` means that the store could not be reached
    in time, and whether a batch was added is unknown.
    """

    async def add(self, batch_id: str, sums: Mapping[Place, Used]) -> None:
        """Add a batch; one that was added in the last week is not added again, so that it can be repeated."""
        ...

    async def report(
        self, key_id: str | None, start: date, end: date, group_by: Collection[Grouping], limit: int
    ) -> Sequence[Row]:
        """Return the first `limit` sums of a key (None: of all) from `start` to `end`, both included, in order."""
        ...

    async def tokens(self, key_id: str, start: date) -> int:
        """Return the tokens that a key has used since a day, without those from the cache."""
        ...
