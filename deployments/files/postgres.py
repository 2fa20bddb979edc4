"""Files in Postgres; see store.py for what each method promises."""

from pathlib import Path

import asyncpg

from deployments.files.store import no_file
from deployments.files.types import FilesUsed, StoredFile
from deployments.history.store import no_cursor
from deployments.history.types import Order, Page
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "files.sql")
SWEPT_BYTES = 104_857_600
"""Bytes of files that one statement deletes: about half a second."""
MAX_SWEEPS = 100


class PostgresFiles:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, file: StoredFile) -> None:
        """Begin to write a file."""
        columns = (file.id, file.tenant, clean(file.filename), file.purpose, file.created_at, file.expires_at)
        await self._database.fetch(SQL["begin"], *columns)

    async def append(self, tenant: str, file_id: str, number: int, data: bytes) -> FilesUsed:
        """Add a chunk."""
        only(await self._database.fetch(SQL["append"], tenant, file_id, number, data), no_file(file_id))
        return await self.used(tenant)

    async def finish(self, file: StoredFile) -> StoredFile:
        """Let the file be seen."""
        columns = (file.tenant, file.id, clean(file.filename), file.purpose, file.expires_at)
        return file_of_row(only(await self._database.fetch(SQL["finish"], *columns), no_file(file.id)))

    async def file(self, tenant: str, file_id: str) -> StoredFile:
        """Return one file."""
        return file_of_row(only(await self._database.fetch(SQL["file"], tenant, file_id), no_file(file_id)))

    async def files(
        self, tenant: str, after: str | None, limit: int, order: Order, purpose: str | None
    ) -> Page[StoredFile]:
        """Return a page in the order of creation."""
        query = SQL["asc"] if order == "asc" else SQL["desc"]
        rows = await self._database.fetch(query, tenant, after, purpose, limit + 1)
        if not rows:
            raise no_cursor(after)
        return Page.of([file_of_row(row) for row in rows if row["id"] is not None], limit)

    async def chunk(self, tenant: str, file_id: str, number: int) -> bytes | None:
        """Return one chunk."""
        rows = await self._database.fetch(SQL["chunk"], tenant, file_id, number)
        return only(rows, no_file(file_id))["data"]

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file."""
        only(await self._database.fetch(SQL["delete"], tenant, file_id), no_file(file_id))

    async def discard(self, tenant: str, file_id: str) -> None:
        """Delete a file whose writing has not ended."""
        await self._database.fetch(SQL["discard"], tenant, file_id)

    async def used(self, tenant: str) -> FilesUsed:
        """Return what the tenant's files take."""
        (row,) = await self._database.fetch(SQL["used"], tenant)
        return FilesUsed(row["bytes"], row["files"])

    async def sweep(self, unfinished_s: float) -> None:
        """Delete what has expired and what was never finished."""
        for _ in range(MAX_SWEEPS):
            if not await self._database.fetch(SQL["sweep"], unfinished_s, SWEPT_BYTES):
                break


def file_of_row(row: asyncpg.Record) -> StoredFile:
    """Return the file that a row of the table is."""
    return StoredFile(
        id=row["id"],
        tenant=row["tenant"],
        filename=row["filename"],
        purpose=row["purpose"],
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
