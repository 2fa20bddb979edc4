"""Where the contents of files are kept when that is not Postgres: a folder that all nodes share, or an object store.

A content is a number of chunks at a place. Places are random names that this service makes: no part of a path comes
from a request. What happens here blocks, and runs in threads of its own: a store that hangs holds up nothing else.
"""

import asyncio
import secrets
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from deployments.errors import DiskFull, HistoryUnavailable
from deployments.files.folder import Folder

T = TypeVar("T")

THREADS = 8
TIMEOUT_S = 30.0
"""For one chunk."""


class Place(Protocol):
    """A store of chunks; every method blocks. OSError is what goes wrong, ENOSPC or EDQUOT where there is no room."""

    def write(self, place: str, number: int, data: bytes) -> None:
        """Keep a chunk, whole or not at all."""
        ...

    def read(self, place: str, number: int) -> bytes:
        """Return a chunk; FileNotFoundError where there is none."""
        ...

    def remove(self, place: str) -> None:
        """Remove all chunks; there may be none."""
        ...


class Contents:
    """Chunks at a URL, for the event loop: raises DiskFull, or HistoryUnavailable for whatever else goes wrong."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._threads = ThreadPoolExecutor(THREADS, "file-contents")

    @staticmethod
    def at(url: str) -> "Contents":
        """Return the store at a URL that the settings have accepted."""
        parts = urlsplit(url)
        return Contents(Folder(Path(unquote(parts.path))) if parts.scheme == "file" else _Remote(url))

    async def write(self, place: str, number: int, data: bytes) -> None:
        """Keep a chunk, whole or not at all. Cancelled, it may still come to be."""
        await self._run(self._place.write, place, number, data)

    async def read(self, place: str, number: int) -> bytes:
        """Return a chunk."""
        return await self._run(self._place.read, place, number)

    async def remove(self, place: str) -> None:
        """Remove all chunks; there may be none."""
        await self._run(self._place.remove, place)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await loop.run_in_executor(self._threads, work, *arguments)
        except TimeoutError:
            raise HistoryUnavailable("The store of files does not respond.", retry_after_s=5.0) from None
        except OSError as error:
            if error.errno in (ENOSPC, EDQUOT):
                raise DiskFull from None
            raise HistoryUnavailable("The store of files cannot be reached right now.", retry_after_s=5.0) from error


def new_place() -> str:
    """Return a name that no other content has."""
    return secrets.token_hex(16)


class _Remote:
    """An object store as fsspec reaches it, with credentials from its own environment; an object for each chunk."""

    def __init__(self, url: str) -> None:
        import fsspec

        # What other replicas have written must be found when it is to be removed.
        self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)

    def write(self, place: str, number: int, data: bytes) -> None:
        with _translated():
            self._files.pipe_file(self._path(place, number), data)

    def read(self, place: str, number: int) -> bytes:
        with _translated():
            return self._files.cat_file(self._path(place, number))

    def remove(self, place: str) -> None:
        with _translated(), suppress(FileNotFoundError):
            self._files.rm(f"{self._root}/{place}", recursive=True)

    def _path(self, place: str, number: int) -> str:
        return f"{self._root}/{place}/{number}"


@contextmanager
def _translated() -> Generator[None]:
    """Make an OSError of whatever an object store raises: each library has errors of its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}") from error
