"""One-time links to the page, and the browsers that have followed one: who may open it on its owner's machine.

    <folder>/           0700, inside the state folder: whoever can write there is trusted
    ├── links/HASH      a link that nobody has followed yet
    └── browsers/HASH   a browser that has followed one

The files are empty. Each is named for the SHA-256 of 256 random bits and its time of modification says
when it was made, so that a restart forgets nobody and a copy of the folder lets nobody in. Secrets are
looked up by their hashes: how long that takes says nothing about a secret.

Nothing here imports NiceGUI: the launcher and the command line make links too.
"""

import contextlib
import hashlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ui.settings import Settings

LINK_S = 3600.0
BROWSER_S = 30 * 24 * 3600.0
CLOCK_SLACK_S = 60.0  # tolerance for clocks that are set back; beyond it, a timestamp counts as forged
PATH = "/open"
_SECRET = re.compile(r"[\w-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Links:
    """The links and browsers that one folder knows. The constructor does no I/O."""

    folder: Path

    def create(self, page_url: str) -> str:
        """Return the address of the page at `page_url` that works once, within `LINK_S`. Raises OSError."""
        return f"{page_url}{PATH}?link={self._add('links', LINK_S)}"

    def follow(self, link: str) -> str | None:
        """Consume a link and return the browser's cookie; None if the link is no longer valid.

        Of two that follow it at once, one succeeds: only one of them can remove the file. Raises
        OSError where the folder cannot be written; the link is used up all the same.
        """
        return self._add("browsers", BROWSER_S) if self._remove("links", link, LINK_S) else None

    def knows(self, cookie: str) -> bool:
        """Whether the cookie is that of a browser that followed a link within the last `BROWSER_S`."""
        return (path := self._path("browsers", cookie)) is not None and _is_young(path, BROWSER_S)

    def forget(self, cookie: str) -> None:
        """Revoke a browser's access; does nothing if it is unknown."""
        self._remove("browsers", cookie, BROWSER_S)

    def _add(self, kind: str, lifetime_s: float) -> str:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / kind).mkdir(mode=0o700, exist_ok=True)
        for path in (self.folder / kind).iterdir():
            if not _is_young(path, lifetime_s):
                path.unlink(missing_ok=True)
        secret = secrets.token_urlsafe(32)
        os.close(os.open(self.folder / kind / _hash(secret), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return secret

    def _remove(self, kind: str, secret: str, lifetime_s: float) -> bool:
        """Remove a secret and return whether it existed and was still valid."""
        if (path := self._path(kind, secret)) is None:
            return False
        is_young = _is_young(path, lifetime_s)
        with contextlib.suppress(OSError):
            path.unlink()
            return is_young
        return False

    def _path(self, kind: str, secret: str) -> Path | None:
        return self.folder / kind / _hash(secret) if _SECRET.fullmatch(secret) else None


def opening_address(settings: Settings) -> str:
    """Return an address that opens the page in one browser: a new link, or the plain address if links are off.

    Raises OSError if the link cannot be stored.
    """
    return Links(settings.links).create(settings.url) if settings.links else settings.url


def _is_young(path: Path, lifetime_s: float) -> bool:
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return False
    return -CLOCK_SLACK_S < age_s < lifetime_s


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
