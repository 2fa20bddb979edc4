"""Sessions of signed-in visitors, and the accounts of whom they signed in as.

The service keeps the sessions. A browser's cookie holds the session's token, which takes the place of an API key in
each request to the service; this process holds it in memory for as long as the browser is active. A restart, or another
process of the page, finds the session again by its cookie.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.settings import ApiKey
from ui.state.account import Account
from ui.state.tasks import Tasks, close_each
from ui.state.watchers import Watchers

IDLE_S = 24 * 3600.0  # after it this process forgets a session; the browser's next request finds it again
VERIFY_S = 30.0  # how long a session that is used is trusted without asking the service
VERIFY_TIMEOUT_S = 2.0  # how long a request waits for the service's answer; then the page itself tells that it is away
COOKIE_S = 30 * 24 * 3600.0  # the service's sessions last no longer
MAX_SESSIONS = 5_000
MAX_SESSIONS_OF_ONE = 50  # the service's own bound; beyond it, the least recently used one is forgotten
MAX_SIGNED_OUT = 10_000
SWEEP_S = 60.0

Reason = Literal["out", "refused", "expired"]
"""Why a session has ended: signed out, the service accepts it no more, or this process has forgotten it."""


class TooManySessions(Exception):
    """The maximum number of sessions has been reached."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A session of the service's: whose it is, by id and by name, and its token."""

    token: str = field(repr=False)
    owner: str
    name: str


@dataclass(eq=False, slots=True)
class Session:
    """One browser that has signed in; times are in `time.monotonic()` seconds."""

    account: Account
    begun: Begun
    is_secure: bool
    _end: Callable[["Session", Reason], None] = field(repr=False)
    _verify: Callable[["Session"], object] = field(repr=False)
    seen_at: float = field(default_factory=time.monotonic)
    verified_at: float = field(default_factory=time.monotonic)
    verifying: "asyncio.Task[None] | None" = field(default=None, repr=False)
    ended: Reason | None = None
    _watchers: Watchers[[Reason]] = field(default_factory=lambda: Watchers[[Reason]]("a session"), repr=False)

    @property
    def name(self) -> str:
        """The name of the user or key."""
        return self.begun.name

    def sign_out(self) -> None:
        """End the session in all tabs of its browser."""
        self._end(self, "out")

    def touch(self) -> None:
        """Record activity, and see now and then whether the service still accepts the session."""
        self.seen_at = time.monotonic()
        if self.is_unverified:
            self._verify(self)

    def watch(self, watcher: Callable[[Reason], None]) -> Callable[[], None]:
        """Call `watcher` when the session ends. Returns a function that stops it."""
        return self._watchers.add(watcher)

    @property
    def is_unverified(self) -> bool:
        """Whether the service has not been asked about it for so long that it must be."""
        return time.monotonic() - self.verified_at > VERIFY_S

    @property
    def is_idle(self) -> bool:
        """Whether it has not been used for so long that this process forgets it."""
        return time.monotonic() - self.seen_at > IDLE_S

    def close(self, reason: Reason) -> None:
        """Notify all watchers, once."""
        self.ended = reason
        self._watchers.notify(reason)


@dataclass(slots=True)
class _Owner:
    """Whose sessions share an account; `key` holds the token of one of them."""

    account: Account
    key: ApiKey


class Sessions:
    """The sessions that this process knows, by the hashes of their tokens."""

    def __init__(
        self,
        on_end: Callable[[Session], None],
        make: Callable[[ApiKey], Account],
        api: Api,
    ) -> None:
        """`on_end` is called with each session that has ended; `make` makes the account of somebody's first session."""
        self._ends: Watchers[[Session]] = Watchers("the end of sessions")
        self._ends.add(on_end)
        self._make = make
        self._api = api
        self._sessions: dict[bytes, Session] = {}
        self._owners: dict[str, _Owner] = {}
        self._signed_out: OrderedDict[bytes, None] = OrderedDict()
        self._tasks = Tasks()

    def admit(self, begun: Begun, is_secure: bool) -> Session:
        """Return the session of a browser that signs in, or that comes back. Raises `TooManySessions`."""
        self.sweep()
        mine = [session for session in self._sessions.values() if session.begun.owner == begun.owner]
        if len(mine) >= MAX_SESSIONS_OF_ONE:
            self.end(min(mine, key=lambda session: session.seen_at), "expired")
        if len(self._sessions) >= MAX_SESSIONS:
            raise TooManySessions
        owner = self._owners.get(begun.owner)
        if owner is None:
            key = ApiKey(begun.token, on_refused=self._refused)
            owner = self._owners[begun.owner] = _Owner(self._make(key), key)
        owner.key.value = begun.token  # the one that the service has just accepted; others may have ended there
        session = Session(owner.account, begun, is_secure, self.end, self._verification)
        self._sessions[_hash(begun.token)] = session
        return session

    def find(self, token: str) -> Session | None:
        """Return the session with this token, if this process knows it."""
        session = self._sessions.get(_hash(token))
        if session is not None and session.is_idle:
            self.end(session, "expired")
            return None
        return session

    def end(self, session: Session, reason: Reason) -> None:
        """End a session; in the background, the account is closed with the last one of its owner."""
        if self._sessions.pop(_hash(session.begun.token), None) is None:
            return
        if reason == "out":
            self._signed_out[_hash(session.begun.token)] = None
            while len(self._signed_out) > MAX_SIGNED_OUT:
                self._signed_out.popitem(last=False)
        session.close(reason)
        self._ends.notify(session)
        self._tasks.start(self._leave(session, reason), "end a session")

    def is_signed_out(self, token: str) -> bool:
        """Whether the session with this token was signed out of here: its browser may still have the cookie."""
        return _hash(token) in self._signed_out

    async def _leave(self, session: Session, reason: Reason) -> None:
        if account := self._left_account(session):
            await account.aclose()  # what it completes needs the token
        if reason == "out":
            with suppress(ApiError):  # it ends by itself when it is not used
                await self._api.end_session(session.begun.token)

    async def confirms(self, session: Session) -> bool:
        """Whether a session goes on; the service is asked if it has not been for long, but not waited for for long."""
        if session.is_unverified:
            await asyncio.wait({self._verification(session)}, timeout=VERIFY_TIMEOUT_S)
        return session.ended is None

    def _verification(self, session: Session) -> "asyncio.Task[None]":
        if session.verifying is None:
            session.verifying = self._tasks.start(self._verify(session), "verify a session")
        return session.verifying

    async def _verify(self, session: Session) -> None:
        """End a session that was signed out elsewhere, and let the service know that it is used.

        The account's own calls do neither: they carry the token of another session.
        """
        try:
            await self._api.whose(session.begun.token)
        except ApiError as error:
            if error.status == 401:
                self.end(session, "refused")
        finally:
            session.verifying, session.verified_at = None, time.monotonic()

    def _left_account(self, session: Session) -> Account | None:
        """Return the account if it was the owner's last session; else let another session's token stand for it."""
        owner = self._owners.get(session.begun.owner)
        if owner is None or owner.account is not session.account:
            return None
        others = [other for other in self._sessions.values() if other.account is owner.account]
        if not others:
            del self._owners[session.begun.owner]
            return owner.account
        if owner.key.value == session.begun.token:
            owner.key.value = others[-1].begun.token
        return None

    def sweep(self) -> None:
        """Forget sessions that have not been used for long."""
        for session in [session for session in self._sessions.values() if session.is_idle]:
            self.end(session, "expired")

    async def sweep_forever(self) -> None:
        """Forget them periodically until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def aclose(self) -> None:
        """Close all accounts; the sessions go on at the service."""
        accounts = [owner.account for owner in self._owners.values()]
        self._sessions.clear()
        self._owners.clear()
        await close_each(*(account.aclose for account in accounts))
        await self._tasks.settled()

    def _refused(self, token: str) -> None:
        if session := self._sessions.get(_hash(token)):
            self.end(session, "refused")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
