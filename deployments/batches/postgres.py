"""Batches in Postgres; see store.py for what each method promises."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from deployments.batches.store import no_batch, too_many
from deployments.batches.types import (
    Batch,
    BatchFigures,
    Claim,
    ClaimedLine,
    DoneLine,
    LineError,
    NewLine,
    OpenBatch,
    Outcome,
    Tokens,
)
from deployments.errors import HistoryUnavailable
from deployments.files.types import StoredFile
from deployments.history.store import no_cursor
from deployments.history.types import Page
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import encode
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "batches.sql")
PAGE_LINES = 1_000
"""Lines that one statement changes at once: all of a large batch would take longer than a statement may."""
TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


class PostgresBatches:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, batch: Batch, max_open: int | None) -> None:
        """Keep a new batch."""
        columns = (
            batch.id,
            batch.tenant,
            batch.key_id,
            batch.endpoint,
            batch.input_file_id,
            None if batch.metadata is None else encode(dict(batch.metadata)),
            batch.output_ttl_s,
            batch.created_at,
            batch.expires_at,
            batch.max_lines,
        )
        async with self._database.connection() as connection, connection.transaction():
            if max_open is not None:
                await connection.execute(SQL["lock"], batch.tenant)
            rows = await connection.fetch(SQL["create"], *columns, max_open)
        if max_open is not None and not rows:
            raise too_many(max_open)

    async def batch(self, tenant: str, batch_id: str) -> Batch:
        """Return one batch."""
        return _batch(only(await self._database.fetch(SQL["batch"], tenant, batch_id), no_batch(batch_id)))

    async def batches(self, tenant: str, after: str | None, limit: int) -> Page[Batch]:
        """Return a page, the newest first."""
        rows = await self._database.fetch(SQL["batches"], tenant, after, limit + 1)
        if not rows:
            raise no_cursor(after)
        return Page.of([_batch(row) for row in rows if row["id"] is not None], limit)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Begin to cancel a batch."""
        await self._database.fetch(SQL["cancel"], tenant, batch_id)
        return await self.batch(tenant, batch_id)

    async def take(self, runner: str, lease_s: float) -> Batch | None:
        """Take a batch that needs a replica."""
        rows = await self._database.fetch(SQL["take"], runner, lease_s)
        return _batch(rows[0]) if rows else None

    async def add_lines(self, batch: Batch, lines: Sequence[NewLine], lease_s: float) -> bool:
        """Add lines of a batch that is validated."""
        columns = ([line.number for line in lines], [line.custom_id for line in lines], [line.body for line in lines])
        return bool(await self._database.fetch(SQL["add_lines"], batch.id, batch.fence, lease_s, *columns))

    async def start(self, batch: Batch, total: int, model: str | None) -> bool:
        """Begin to answer the lines."""
        return bool(await self._database.fetch(SQL["start"], batch.id, batch.fence, total, model))

    async def fail(self, batch: Batch, errors: Sequence[LineError]) -> bool:
        """End a batch whose input is not valid."""
        encoded = encode([asdict(error) for error in errors])
        if not await self._database.fetch(SQL["fail"], batch.id, batch.fence, encoded):
            return False
        await self._drop_lines(batch.id)
        return True

    async def claim(self, runner: str, limit: int, lease_s: float, skipped: Collection[str]) -> list[ClaimedLine]:
        """Take lines without an answer."""
        rows = await self._database.fetch(SQL["claim"], runner, limit, lease_s, list(skipped))
        return [ClaimedLine(**dict(row)) for row in sorted(rows, key=lambda row: (row["batch_id"], row["number"]))]

    async def renew(self, runner: str, claims: Sequence[Claim], lease_s: float) -> set[Claim]:
        """Keep the leases of lines."""
        return _claims(await self._database.fetch(SQL["renew"], runner, lease_s, *_columns(claims)))

    async def give_back(self, runner: str, claims: Sequence[Claim], delay_s: float, *, is_counted: bool) -> None:
        """Let lines be claimed again."""
        await self._database.fetch(SQL["give_back"], runner, delay_s, int(is_counted), *_columns(claims))

    async def give_back_others(self, runner: str, held: Sequence[Claim]) -> None:
        """Let lines be claimed again that this replica does not know to be its own."""
        await self._database.fetch(SQL["give_back_others"], runner, *_columns(held))

    async def settle(self, runner: str, outcomes: Sequence[Outcome]) -> set[Claim]:
        """Write the outcomes of lines."""
        tokens = [outcome.tokens for outcome in outcomes]
        rows = await self._database.fetch(
            SQL["settle"],
            runner,
            *_columns([outcome.claim for outcome in outcomes]),
            [outcome.text for outcome in outcomes],
            [outcome.is_error for outcome in outcomes],
            [each.input for each in tokens],
            [each.cached for each in tokens],
            [each.output for each in tokens],
            [each.reasoning for each in tokens],
        )
        return _claims(rows)

    async def close_lines(self, batch: Batch, lease_s: float) -> bool:
        """Let no line of a batch have an outcome any more."""
        while await self.renew_batch(batch, lease_s):
            if len(await self._database.fetch(SQL["close_lines"], batch.id, batch.fence, PAGE_LINES)) < PAGE_LINES:
                return True
        return False

    async def done_lines(self, batch: Batch, after: int, limit: int, max_bytes: int) -> list[DoneLine]:
        """Return the lines past a number in order."""
        rows = await self._database.fetch(SQL["done_lines"], batch.id, after, limit, max_bytes)
        return [DoneLine(row["number"], row["custom_id"], row["outcome"], row["is_error"]) for row in rows]

    async def renew_batch(self, batch: Batch, lease_s: float) -> bool:
        """Keep the lease of a batch."""
        return bool(await self._database.fetch(SQL["renew_batch"], batch.id, batch.fence, lease_s))

    async def finish(self, batch: Batch, output: StoredFile | None, errors: StoredFile | None) -> bool:
        """End a batch."""
        files = (output.id if output else None, errors.id if errors else None)
        if not await self._database.fetch(SQL["finish"], batch.id, batch.fence, batch.ending, *files):
            return False
        await self._drop_lines(batch.id)
        return True

    async def sweep(self, older_s: float) -> None:
        """Delete old batches, and lines that stayed when their batch had ended."""
        for row in await self._database.fetch(SQL["undropped"]):
            await self._drop_lines(row["id"])
        await self._database.fetch(SQL["sweep"], older_s)

    async def _drop_lines(self, batch_id: str) -> None:
        """Delete the lines of a batch that has ended, page by page; what stays, `sweep` drops."""
        after, is_last = 0, False
        with suppress(HistoryUnavailable):
            while not is_last:
                rows = await self._database.fetch(SQL["drop_lines"], batch_id, after, PAGE_LINES)
                after, is_last = max((row["number"] for row in rows), default=after), len(rows) < PAGE_LINES

    async def open_batches(self, after: str | None, limit: int) -> Page[OpenBatch]:
        """Return a page of what has not ended, the oldest first."""
        rows = await self._database.fetch(SQL["open_batches"], after, limit + 1)
        if not rows:
            raise no_cursor(after)
        return Page.of([OpenBatch(_batch(row), row["running"]) for row in rows if row["id"] is not None], limit)

    async def figures(self, runner: str, lease_s: float) -> BatchFigures | None:
        """Sum up what has not ended."""
        if not await self._database.fetch(SQL["watch"], runner, lease_s):
            return None
        rows = await self._database.fetch(SQL["figures"])
        answering = [row for row in rows if row["status"] == "in_progress"]
        running = sum(row["running"] for row in answering)
        return BatchFigures(
            {row["status"]: row["batches"] for row in rows},
            waiting=sum(row["lines"] for row in answering) - running,
            running=running,
            oldest_s=max((row["oldest_s"] for row in rows), default=0.0),
        )


def _columns(claims: Sequence[Claim]) -> tuple[list[str], list[int], list[int]]:
    return [c.batch_id for c in claims], [c.number for c in claims], [c.fence for c in claims]


def _claims(rows: Sequence[asyncpg.Record]) -> set[Claim]:
    return {Claim(row["batch_id"], row["number"], row["fence"]) for row in rows}


def _batch(row: asyncpg.Record) -> Batch:
    errors: list[dict[str, Any]] = orjson.loads(row["errors"]) if row["errors"] else []
    return Batch(
        tenant=row["tenant"],
        key_id=row["key_id"],
        endpoint=row["endpoint"],
        input_file_id=row["input_file_id"],
        metadata=orjson.loads(row["metadata"]) if row["metadata"] else None,
        output_ttl_s=row["output_ttl_s"],
        max_lines=row["max_lines"],
        id=row["id"],
        created_at=row["created_at"],
        status=row["status"],
        model=row["model"],
        errors=tuple(LineError(**error) for error in errors),
        total=row["total"],
        completed=row["completed"],
        failed=row["failed"],
        tokens=Tokens(row["input_tokens"], row["cached_tokens"], row["output_tokens"], row["reasoning_tokens"]),
        output_file_id=row["output_file_id"],
        error_file_id=row["error_file_id"],
        fence=row["fence"],
        **{name: row[name] for name in TIMES},
    )
