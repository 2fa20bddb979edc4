"""Sessions of signed-in visitors, identified by a cookie, and the accounts of their keys.

A cookie holds 256 random bits and nothing else. The key that they stand for is in this
process's memory alone: a copy of the cookie is worth nothing once the session has ended,
and there is no file to protect. The price is that a restart of this process signs
everybody out; what was being written is stored by the service, and a draft by its tab.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ui.state.account import Account
from ui.state.tasks import Tasks, close_each
from ui.state.watchers import Watchers

IDLE_S = 24 * 3600.0
LIFETIME_S = 7 * 24 * 3600.0
MAX_SESSIONS = 5_000
MAX_SESSIONS_OF_A_KEY = 20  # beyond it, the least recently used session ends
SWEEP_S = 60.0

Reason = Literal["out", "refused", "expired"]
"""Why a session has ended: signed out, its key opens nothing any more, or it has not been used for too long."""


class TooManySessions(Exception):
    """The maximum number of sessions has been reached."""


@dataclass(eq=False, slots=True)
class Session:
    """One browser that has signed in; times are `time.monotonic()` seconds."""

    account: Account
    name: str
    is_secure: bool
    _end: Callable[["Session", Reason], None] = field(repr=False)
    began_at: float = field(default_factory=time.monotonic)
    seen_at: float = field(default_factory=time.monotonic)
    ended: Reason | None = None
    _watchers: Watchers[[Reason]] = field(default_factory=lambda: Watchers[[Reason]]("a session"), repr=False)

    def sign_out(self) -> None:
        """End the session in all tabs of its browser."""
        self._end(self, "out")

    def touch(self) -> None:
        """Record activity."""
        self.seen_at = time.monotonic()

    def watch(self, watcher: Callable[[Reason], None]) -> Callable[[], None]:
        """Call `watcher` when the session ends. Returns a function that stops it."""
        return self._watchers.add(watcher)

    @property
    def is_over(self) -> bool:
        """Whether the session has expired."""
        now = time.monotonic()
        return now - self.seen_at > IDLE_S or now - self.began_at > LIFETIME_S

    def close(self, reason: Reason) -> None:
        """Notify all watchers, once."""
        self.ended = reason
        self._watchers.notify(reason)


class Sessions:
    """All sessions of the process, by the hashes of their cookies."""

    def __init__(self, on_end: Callable[[Session], None]) -> None:
        """`on_end` is called with each session that has ended."""
        self._ends: Watchers[[Session]] = Watchers("the end of sessions")
        self._ends.add(on_end)
        self._sessions: dict[bytes, Session] = {}
        self._accounts: dict[bytes, Account] = {}
        self._closing = Tasks()

    def begin(self, key: str, name: str, is_secure: bool, make: Callable[[Callable[[], None]], Account]) -> str:
        """Create a session for a key of that name and return its cookie's value.

        `make` makes the key's account where no session of it is running; it takes what is
        to be called when the service refuses the key. Raises `TooManySessions`.
        """
        self.sweep()
        place = _hash(key)
        account = self._accounts.get(place)
        mine = [session for session in self._sessions.values() if session.account is account]
        if len(mine) >= MAX_SESSIONS_OF_A_KEY:
            self.end(min(mine, key=lambda session: session.seen_at), "expired")
        if len(self._sessions) >= MAX_SESSIONS:
            raise TooManySessions
        if account is None:
            account = self._accounts[place] = make(lambda: self._refused(place))
        token = secrets.token_urlsafe(32)
        self._sessions[_hash(token)] = Session(account, name, is_secure, self.end)
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a cookie's value, if it is still running."""
        session = self._sessions.get(_hash(token))
        if session is not None and session.is_over:
            self.end(session, "expired")
            return None
        return session

    def end(self, session: Session, reason: Reason) -> None:
        """End a session; the account is closed in the background with the last session of its key."""
        for place in [place for place, other in self._sessions.items() if other is session]:
            del self._sessions[place]
        session.close(reason)
        self._ends.notify(session)
        if not any(other.account is session.account for other in self._sessions.values()):
            for place in [place for place, account in self._accounts.items() if account is session.account]:
                self._closing.start(self._accounts.pop(place).aclose(), "close an account")

    def sweep(self) -> None:
        """End expired sessions."""
        for session in [session for session in self._sessions.values() if session.is_over]:
            self.end(session, "expired")

    async def sweep_forever(self) -> None:
        """End expired sessions periodically until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def aclose(self) -> None:
        """Close all accounts."""
        accounts = list(self._accounts.values())
        self._sessions.clear()
        self._accounts.clear()
        await close_each(*(account.aclose for account in accounts))
        await self._closing.settled()

    def _refused(self, place: bytes) -> None:
        account = self._accounts.get(place)
        for session in [session for session in self._sessions.values() if session.account is account]:
            self.end(session, "refused")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
