"""Files in Postgres; see store.py for what each method promises."""

from contextlib import suppress
from pathlib import Path

import asyncpg

from deployments.errors import HistoryUnavailable
from deployments.files.contents import TIMEOUT_S, Contents, new_place
from deployments.files.store import no_file
from deployments.files.types import CHUNK_BYTES, FilesUsed, StoredFile
from deployments.history.store import no_cursor
from deployments.history.types import Order, Page
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "files.sql")
SWEPT_BYTES = 104_857_600
"""Bytes of files that one statement deletes: about half a second."""
MAX_SWEEPS = 100
MAX_FAILURES = 3
"""Contents that cannot be removed: after so many the whole place is taken for away."""
SETTLED_S = 2 * TIMEOUT_S
"""After so long no chunk of a file that is gone is being written any more: what is removed then stays away."""


class PostgresFiles:
    """The store on the process's shared `Database`, which its owner opens and closes.

    Contents are rows as well, or kept elsewhere: then a chunk is written there before it counts, and removed after
    its file. What is lost in between is removed by `sweep`, as is the rest of an upload that broke off.
    """

    def __init__(self, database: Database, contents: Contents | None = None) -> None:
        """`contents` is where those of new files are kept, None for Postgres."""
        self._database = database
        self._contents = contents

    async def begin(self, file: StoredFile) -> None:
        """Begin to write a file."""
        columns = (file.id, file.tenant, clean(file.filename), file.purpose, file.created_at, file.expires_at)
        await self._database.fetch(SQL["begin"], *columns, None if self._contents is None else new_place())

    async def append(self, tenant: str, file_id: str, number: int, data: bytes) -> FilesUsed:
        """Add a chunk."""
        if self._contents is None:
            only(await self._database.fetch(SQL["append"], tenant, file_id, number, data), no_file(file_id))
        else:
            await self._append_there(self._contents, tenant, file_id, number, data)
        return await self.used(tenant)

    async def _append_there(self, contents: Contents, tenant: str, file_id: str, number: int, data: bytes) -> None:
        place = only(await self._database.fetch(SQL["place"], tenant, file_id), no_file(file_id))["place"]
        await contents.write(place, number, data)
        if not await self._database.fetch(SQL["grow"], tenant, file_id, len(data)):
            await contents.remove(place)  # deleted meanwhile, and what was to be removed perhaps is
            raise no_file(file_id)

    async def finish(self, file: StoredFile) -> StoredFile:
        """Make the file visible."""
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
        row = only(await self._database.fetch(SQL["chunk"], tenant, file_id, number), no_file(file_id))
        if row["place"] is None:
            return row["data"]
        if number * CHUNK_BYTES >= row["bytes"]:
            return None
        return await self._elsewhere().read(row["place"], number)

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file."""
        row = only(await self._database.fetch(SQL["delete"], tenant, file_id), no_file(file_id))
        await self._remove(row["place"])

    async def discard(self, tenant: str, file_id: str) -> None:
        """Delete a file whose writing has not ended."""
        for row in await self._database.fetch(SQL["discard"], tenant, file_id):
            await self._remove(row["place"])

    async def used(self, tenant: str) -> FilesUsed:
        """Return what the tenant's files take."""
        (row,) = await self._database.fetch(SQL["used"], tenant)
        return FilesUsed(row["bytes"], row["files"])

    async def sweep(self, unfinished_s: float) -> None:
        """Delete what has expired and what was never finished."""
        for _ in range(MAX_SWEEPS):
            if not await self._database.fetch(SQL["sweep"], unfinished_s, SWEPT_BYTES):
                break
        if self._contents is not None:
            await self._sweep_contents(self._contents)

    async def _sweep_contents(self, contents: Contents) -> None:
        """Remove what is left of files that are gone; what cannot be removed comes after everything else next time."""
        failures: list[HistoryUnavailable] = []
        for row in await self._database.fetch(SQL["removals"], SETTLED_S):
            try:
                await contents.remove(row["place"])
                await self._database.fetch(SQL["removed"], row["place"])
            except HistoryUnavailable as error:
                await self._database.fetch(SQL["postpone_removal"], row["place"])
                failures.append(error)
            if len(failures) >= MAX_FAILURES:
                break
        if failures:
            raise failures[0]

    async def _remove(self, place: str | None) -> None:
        """Remove the content of a file that is gone, as far as possible now; `sweep` does so again."""
        if place is not None and self._contents is not None:
            with suppress(HistoryUnavailable):
                await self._contents.remove(place)

    def _elsewhere(self) -> Contents:
        if self._contents is None:
            raise HistoryUnavailable("This file is kept where `files.url` no longer points.")
        return self._contents


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
