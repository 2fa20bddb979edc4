"""Files in memory, with the promises of store.py but for durability: for tests and trials."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from deployments.errors import HistoryUnavailable
from deployments.files.store import no_file
from deployments.files.types import FilesUsed, StoredFile
from deployments.history.store import no_cursor
from deployments.history.types import Order, Page


@dataclass
class _Kept:
    file: StoredFile
    chunks: dict[int, bytes] = field(default_factory=dict[int, bytes])
    is_whole: bool = False

    @property
    def is_there(self) -> bool:
        expires_at = self.file.expires_at
        return self.is_whole and (expires_at is None or expires_at > datetime.now(UTC))


class MemoryFiles:
    """The store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self) -> None:
        self.is_away = False
        self._kept: dict[str, _Kept] = {}

    async def begin(self, file: StoredFile) -> None:
        """Begin to write a file."""
        self._check()
        self._kept[file.id] = _Kept(file)

    async def append(self, tenant: str, file_id: str, number: int, data: bytes) -> FilesUsed:
        """Add a chunk."""
        kept = self._of(tenant, file_id)
        if kept.is_whole:
            raise no_file(file_id)
        kept.chunks[number] = data
        kept.file = replace(kept.file, bytes=sum(map(len, kept.chunks.values())))
        return await self.used(tenant)

    async def finish(self, file: StoredFile) -> StoredFile:
        """Make the file visible."""
        kept = self._of(file.tenant, file.id)
        kept.file, kept.is_whole = replace(file, bytes=kept.file.bytes), True
        return kept.file

    async def file(self, tenant: str, file_id: str) -> StoredFile:
        """Return one file."""
        return self._whole(tenant, file_id).file

    async def files(
        self, tenant: str, after: str | None, limit: int, order: Order, purpose: str | None
    ) -> Page[StoredFile]:
        """Return a page in the order of creation."""
        self._check()
        mine = [kept.file for kept in self._kept.values() if kept.file.tenant == tenant and kept.is_there]
        mine = sorted(mine, key=lambda file: (file.created_at, file.id), reverse=order == "desc")
        if after is not None:
            ids = [file.id for file in mine]
            if after not in ids:
                raise no_cursor(after)
            mine = mine[ids.index(after) + 1 :]
        return Page.of([file for file in mine if purpose in (None, file.purpose)][: limit + 1], limit)

    async def chunk(self, tenant: str, file_id: str, number: int) -> bytes | None:
        """Return one chunk."""
        return self._whole(tenant, file_id).chunks.get(number)

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file."""
        self._of(tenant, file_id)
        del self._kept[file_id]

    async def discard(self, tenant: str, file_id: str) -> None:
        """Delete a file whose writing has not ended."""
        self._check()
        kept = self._kept.get(file_id)
        if kept is not None and kept.file.tenant == tenant and not kept.is_whole:
            del self._kept[file_id]

    async def used(self, tenant: str) -> FilesUsed:
        """Return what the tenant's files take."""
        self._check()
        mine = [kept.file.bytes for kept in self._kept.values() if kept.file.tenant == tenant]
        return FilesUsed(sum(mine), len(mine))

    async def sweep(self, unfinished_s: float) -> None:
        """Delete what has expired and what was never finished."""
        self._check()
        now = datetime.now(UTC)
        for id_, kept in list(self._kept.items()):
            is_late = (now - kept.file.created_at).total_seconds() > unfinished_s
            if not kept.is_there and (kept.is_whole or is_late):
                del self._kept[id_]

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)

    def _of(self, tenant: str, file_id: str) -> _Kept:
        self._check()
        kept = self._kept.get(file_id)
        if kept is None or kept.file.tenant != tenant:
            raise no_file(file_id)
        return kept

    def _whole(self, tenant: str, file_id: str) -> _Kept:
        kept = self._of(tenant, file_id)
        if not kept.is_there:
            raise no_file(file_id)
        return kept
