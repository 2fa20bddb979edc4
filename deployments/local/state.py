"""The state folder: everything that one installation keeps on this machine.

    <state>/                0700
    ├── postgres/data       the database
    ├── valkey/             the cache's append-only file
    ├── logs/               one file per server
    ├── run/                unix sockets, or in /tmp where this path is too long for one
    └── *.lock              held while somebody works with the part of that name

Nothing outside this folder is created or changed, but for the folder of sockets.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# The kernel keeps a socket's path in 108 bytes, of which the last is a zero (unix(7)).
SUN_PATH_BYTES = 107
# HAProxy's: Ray puts the node's id (56 digits) before the name, HAProxy its process id behind it while it binds.
LONGEST_SOCKET = f"ray/h/{'0' * 56}/s.4194304.tmp"


class LauncherError(Exception):
    """The launcher cannot go on; the message is one sentence that names the remedy."""


class Locked(LauncherError):
    """Another process holds the lock."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths below one state folder, and the locks that keep two launchers apart."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the folder, made readable by its owner only where it is new; LauncherError if it cannot be used."""
        path = path.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / "logs").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LauncherError(
                f"cannot write to the state folder {path} ({error.strerror}): "
                "choose another one or give it to this user"
            ) from error
        return cls(path.resolve())

    @property
    def logs(self) -> Path:
        """Folder of the servers' log files."""
        return self.path / "logs"

    @property
    def sockets(self) -> Path:
        """Folder of the unix sockets: in the state folder if its path is short enough for a socket."""
        inside = self.path / "run"
        if len(os.fsencode(inside / LONGEST_SOCKET)) <= SUN_PATH_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]
        return Path(f"/tmp/chatllm-{os.geteuid()}-{digest}")  # noqa: S108 - checked by _make_private

    def make_sockets(self, name: str) -> Path:
        """Return the private folder for the sockets of the server `name`, made if need be."""
        _make_private(self.sockets, self._owners())
        folder = self.sockets / name
        folder.mkdir(mode=0o700, exist_ok=True)  # nobody else can write to its parent
        return folder

    def remove_sockets(self, name: str) -> None:
        """Remove what `make_sockets` made, as far as nobody else uses it."""
        with contextlib.suppress(OSError):
            if _belongs_to(self.sockets, self._owners()):
                shutil.rmtree(self.sockets / name, ignore_errors=True)
                self.sockets.rmdir()

    def _owners(self) -> set[int]:
        return {os.geteuid(), self.path.stat().st_uid}

    @contextlib.contextmanager
    def locked(self, name: str) -> Generator[None]:
        """Hold the lock `name`; raise `Locked` at once if someone else does.

        The kernel releases it when this process ends, however it ends.
        """
        release = self.lock(name)
        try:
            yield
        finally:
            os.close(release)

    def lock(self, name: str) -> int:
        """Take the lock `name` and return the file descriptor that holds it until it is closed."""
        file = os.open(self.path / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 20).decode(errors="replace").strip()
            os.close(file)
            raise Locked(
                f"process {holder or '?'} already runs {name} in {self.path}: stop it (make stop) "
                "or choose another state folder"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        return file


def _make_private(folder: Path, owners: set[int]) -> None:
    """Make `folder` with mode 0700, or check that it belongs to us: in /tmp anyone could have made it first."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _belongs_to(folder, owners):
        raise LauncherError(f"{folder} belongs to somebody else: remove it or choose a shorter state folder")
    folder.chmod(0o700)


def _belongs_to(folder: Path, owners: set[int]) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners
