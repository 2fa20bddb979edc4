"""Writing a file piece by piece, whatever the sizes of the pieces, and reading it again."""

from collections.abc import AsyncGenerator, Callable

from deployments.files.store import FileStore
from deployments.files.types import CHUNK_BYTES, FilesUsed, StoredFile


class FileWriter:
    """Writes one file; holds one chunk at most. What is begun and not finished must be deleted, else `sweep` does."""

    def __init__(self, store: FileStore, file: StoredFile, check: Callable[[FilesUsed], None] | None = None) -> None:
        """`check` is told after each chunk what the tenant's files take by then, and may raise."""
        self.file = file
        self._store = store
        self._check = check
        self._pending = bytearray()
        self._chunks = 0
        self.size = 0

    async def begin(self) -> None:
        """Begin the file in the store."""
        await self._store.begin(self.file)

    async def write(self, data: bytes) -> None:
        """Add some bytes."""
        self._pending += data
        self.size += len(data)
        while len(self._pending) >= CHUNK_BYTES:
            await self._append(bytes(self._pending[:CHUNK_BYTES]))
            del self._pending[:CHUNK_BYTES]

    async def flush(self) -> None:
        """Write what is left; nothing may follow."""
        if self._pending:
            await self._append(bytes(self._pending))
            self._pending.clear()

    async def discard(self) -> None:
        """Delete what has been written."""
        await self._store.delete(self.file.tenant, self.file.id)

    async def _append(self, data: bytes) -> None:
        used = await self._store.append(self.file.tenant, self.file.id, self._chunks, data)
        self._chunks += 1
        if self._check is not None:
            self._check(used)


async def content_of(store: FileStore, tenant: str, file_id: str) -> AsyncGenerator[bytes]:
    """Yield a file's bytes, one chunk at a time; NotFound, also halfway where it is deleted meanwhile."""
    number = 0
    while (data := await store.chunk(tenant, file_id, number)) is not None:
        yield data
        number += 1
