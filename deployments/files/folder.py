"""Contents of files in a folder that all nodes share: a folder for each, in it a file for each chunk."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


class Folder:
    """The folder, which must be there; nobody but the service's own user may look into what it makes in it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, place: str, number: int, data: bytes) -> None:
        """Keep a chunk: it has its name once all of it is on the disk."""
        folder = self._folder(place)
        for each in (folder.parent, folder):  # the root itself is not made: it may be a share that is not mounted
            each.mkdir(PRIVATE_FOLDER, exist_ok=True)
        part = folder / f".{number}.{secrets.token_hex(4)}"
        try:
            _write_whole(part, data)
            part.replace(folder / str(number))
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        _sync(folder)

    def read(self, place: str, number: int) -> bytes:
        """Return a chunk."""
        return (self._folder(place) / str(number)).read_bytes()

    def remove(self, place: str) -> None:
        """Remove all chunks; there may be none."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder(place))

    def _folder(self, place: str) -> Path:
        # In 256 folders: one with a hundred thousand entries is slow on some file systems.
        return self._root / place[:2] / place


def _write_whole(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def _sync(folder: Path) -> None:
    """Let the new name outlive a loss of power, too."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
