"""Usage in Postgres; see store.py for what each method promises."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, fields
from datetime import date
from pathlib import Path

from deployments.infra.postgres.database import Database
from deployments.infra.postgres.encoding import clean
from deployments.infra.postgres.queries import load
from deployments.usage.types import Grouping, Place, Row, Used

SQL = load(Path(__file__).parent / "usage.sql")
FIGURES = tuple(field.name for field in fields(Used))


class PostgresUsage:
    """The usage store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch_id: str, sums: Mapping[Place, Used]) -> None:
        rows = [(*astuple(place), *astuple(used)) for place, used in sums.items()]
        await self._database.fetch(SQL["add"], batch_id, *map(list, zip(*rows, strict=True)))

    async def report(
        self, key_id: str | None, start: date, end: date, group_by: Collection[Grouping], limit: int
    ) -> Sequence[Row]:
        key_id = None if key_id is None else clean(key_id)
        groups = ("day" in group_by, "model" in group_by, "key" in group_by)
        rows = await self._database.fetch(SQL["report"], start, end, key_id, *groups, limit)
        return [
            Row(row["day"], row["model"], row["key_id"], Used(**{name: row[name] for name in FIGURES})) for row in rows
        ]

    async def tokens(self, key_id: str, start: date) -> int:
        return (await self._database.fetch(SQL["tokens"], key_id, start))[0]["tokens"]
