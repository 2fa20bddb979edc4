"""Finds sessions that this process does not know: those of before a restart, or of another process of the page."""

import asyncio
import re
import time
from collections import OrderedDict

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.auth.sessions import Begun, Session, Sessions, TooManySessions

TOKEN = re.compile(r"st-chatllm-[\w-]{43}", re.ASCII)
AT_ONCE = 8
MAX_WAITING = 200
REFUSED_S = 30.0  # how long a token that the service does not know is not asked about again
MAX_REFUSED = 1_000


class Returning:
    """Asks the service whose a token is; once for all requests of a browser that come with it."""

    def __init__(self, api: Api, sessions: Sessions) -> None:
        self._api, self._sessions = api, sessions
        self._asking: dict[tuple[str, bool], asyncio.Task[Session | None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._refused: OrderedDict[str, float] = OrderedDict()

    async def session(self, token: str, is_secure: bool) -> Session | None:
        """Return the session with this token, or None. Raises `ApiError` where the service cannot be asked."""
        if not TOKEN.fullmatch(token) or self._refused.get(token, 0.0) > time.monotonic():
            return None
        if self._sessions.is_signed_out(token):  # the service may not know it yet, or not on all of its replicas
            return None
        place = token, is_secure
        if (asking := self._asking.get(place)) is None:
            if len(self._asking) >= MAX_WAITING:
                raise ApiError("unavailable")
            asking = self._asking[place] = asyncio.create_task(self._found(token, is_secure), name="find a session")
            asking.add_done_callback(lambda done: self._forget(place, done))
        return await asyncio.shield(asking)

    def _forget(self, place: tuple[str, bool], done: "asyncio.Task[Session | None]") -> None:
        del self._asking[place]
        if not done.cancelled():
            done.exception()  # seen, whether or not a request still waits for it

    async def _found(self, token: str, is_secure: bool) -> Session | None:
        try:
            async with self._places:
                me = await self._api.whose(token)
        except ApiError as error:
            if error.status != 401:
                raise
            self._refused[token] = time.monotonic() + REFUSED_S
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)
            return None
        if self._sessions.is_signed_out(token):
            return None
        known = self._sessions.find(token)
        try:
            return known or self._sessions.admit(Begun(token, me.id, me.name), is_secure)
        except TooManySessions:
            raise ApiError("unavailable") from None
