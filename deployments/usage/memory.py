"""Usage in memory, with the promises of store.py but for durability: for tests and trials."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date

from deployments.errors import HistoryUnavailable
from deployments.usage.types import Grouping, Place, Row, Used


class MemoryUsage:
    """The usage store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._sums: defaultdict[Place, Used] = defaultdict(Used)
        self._batches: set[str] = set()

    async def add(self, batch_id: str, sums: Mapping[Place, Used]) -> None:
        self._check()
        if batch_id in self._batches:
            return
        self._batches.add(batch_id)
        for place, used in sums.items():
            self._sums[place] += used

    async def report(
        self, key_id: str | None, start: date, end: date, group_by: Collection[Grouping], limit: int
    ) -> Sequence[Row]:
        self._check()
        groups: defaultdict[tuple[date | None, str | None, str | None], Used] = defaultdict(Used)
        for place, used in self._sums.items():
            if key_id in (None, place.key_id) and start <= place.day <= end:
                group = (
                    place.day if "day" in group_by else None,
                    place.model if "model" in group_by else None,
                    place.key_id if "key" in group_by else None,
                )
                groups[group] += used
        ordered = sorted(groups, key=lambda group: (group[0] or date.min, group[1] or "", group[2] or ""))
        return [Row(*group, groups[group]) for group in ordered[:limit]]

    async def tokens(self, key_id: str, start: date) -> int:
        self._check()
        return sum(
            used.prompt_tokens + used.completion_tokens
            for place, used in self._sums.items()
            if place.key_id == key_id and place.day >= start
        )

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)
