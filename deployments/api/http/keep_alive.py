"""Bytes on a stream that would be silent, so that nothing between server and client drops the connection."""

import asyncio
from collections.abc import Callable

from starlette.types import Send

FIRST_S = 1.0
"""Seconds that a client waits before it sees why."""
HELD_S = 5.0
"""Seconds between two comments that say why the client waits."""
COMMENT = b": ping\n\n"
"""A comment, which clients of server-sent events pass over (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""


class KeepAlive:
    """Sends a ping whenever a stream has been silent for `silence_s`. One timer per stream, and no task until it fires.

    A client whose request is held sees soon why, and every few seconds again.

    The stream's writer sets `is_writing` while it sends and calls `sent` afterwards; `close` must be called before the
    stream's last message.
    """

    def __init__(
        self, send: Send, silence_s: float, ping: bytes = COMMENT, waits_for: Callable[[], str | None] | None = None
    ) -> None:
        """`ping` is sent once the stream has begun with an event; a comment before that.

        `waits_for` returns what the comment says while the request is held, and None from then on.
        """
        self.is_writing = False
        self._send = send
        self._silence_s = silence_s
        self._ping = ping
        self._waits_for = waits_for
        self._has_begun = self._has_explained = False
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time()
        self._timer = self._loop.call_later(self._looks_s(), self._due)
        self._pinging: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Tell a client whose request is held why it waits, at once."""
        if self._waits_for is not None:
            await self._send_ping()

    def sent(self) -> None:
        """Note that an event was sent."""
        self.is_writing = False
        self._has_begun = True
        self._sent_at = self._loop.time()

    def close(self) -> None:
        """Stop sending."""
        self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    def _due(self) -> None:
        left_s = self._sent_at + self._allowed_s() - self._loop.time()
        if left_s <= 0:
            # A writer that waits for a slow client has sent enough, and so has a ping that waits for it.
            if not self.is_writing and (self._pinging is None or self._pinging.done()):
                self._pinging = self._loop.create_task(self._send_ping(), name="ping")
            self._sent_at, left_s = self._loop.time(), self._allowed_s()
        self._timer = self._loop.call_later(min(left_s, self._looks_s()), self._due)

    def _looks_s(self) -> float:
        """Return how often to look whether there is something to say: it may begin to wait after its first event."""
        if self._waits_for is None:
            return self._silence_s
        return min(HELD_S if self._has_explained else FIRST_S, self._silence_s)

    def _allowed_s(self) -> float:
        return self._looks_s() if self._reason() else self._silence_s

    def _reason(self) -> str | None:
        return self._waits_for() if self._waits_for is not None else None

    async def _send_ping(self) -> None:
        reason = self._reason()
        self._has_explained = self._has_explained or bool(reason)
        ping = f": {reason}\n\n".encode() if reason else self._ping if self._has_begun else COMMENT
        await self._send({"type": "http.response.body", "body": ping, "more_body": True})
