"""The interface of the store of files."""

from typing import Protocol

from deployments.errors import NotFound
from deployments.files.types import FilesUsed, StoredFile
from deployments.history.types import Order, Page

UNFINISHED_S = 7200.0
"""No upload and no writing of a batch's results takes so long: what was begun before is swept."""


class FileStore(Protocol):
    """Files of tenants, written chunk by chunk and read in the same chunks.

    Everywhere: an id of another tenant is `NotFound`, as is one that does not exist, has expired, or whose writing
    has not ended. `HistoryUnavailable` means that the store could not be reached in time.
    """

    async def begin(self, file: StoredFile) -> None:
        """Begin to write a file, which nobody sees before `finish`. One that is never finished goes with `sweep`."""
        ...

    async def append(self, tenant: str, file_id: str, number: int, data: bytes) -> FilesUsed:
        """Add chunk `number`, counted from 0, and return what all of the tenant's files take by then.

        DiskFull where there is no room for it: nothing of it is kept then.
        """
        ...

    async def finish(self, file: StoredFile) -> StoredFile:
        """Make the file visible, with the purpose and expiry given here, and return it."""
        ...

    async def file(self, tenant: str, file_id: str) -> StoredFile:
        """Return one file."""
        ...

    async def files(
        self, tenant: str, after: str | None, limit: int, order: Order, purpose: str | None
    ) -> Page[StoredFile]:
        """Return a page of the tenant's files in the order of their creation; NotFound for an unknown `after`."""
        ...

    async def chunk(self, tenant: str, file_id: str, number: int) -> bytes | None:
        """Return one chunk of a file, None past the last."""
        ...

    async def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file, also one whose writing has not ended."""
        ...

    async def discard(self, tenant: str, file_id: str) -> None:
        """Delete a file that is still being written; a visible one stays, and a missing one is not an error."""
        ...

    async def used(self, tenant: str) -> FilesUsed:
        """Return what the tenant's files take."""
        ...

    async def sweep(self, unfinished_s: float) -> None:
        """Delete what has expired, and what was begun longer than `unfinished_s` ago and never finished."""
        ...


def no_file(file_id: str) -> NotFound:
    """Return the error for a file that is not there, or not this tenant's."""
    return NotFound(f"No such File object: {file_id}", "id")
