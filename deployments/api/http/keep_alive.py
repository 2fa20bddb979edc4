"""Bytes on a stream that would be silent, so that nothing between server and client gives the connection up."""

import asyncio

from starlette.types import Send

COMMENT = b": ping\n\n"
"""A comment, which clients of server-sent events pass over (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""


class KeepAlive:
    """Sends a ping whenever a stream has been silent for `silence_s`. One timer per stream, and no task until it fires.

    The stream's writer sets `is_writing` while it sends and calls `sent` afterwards; `close` must be called before the
    stream's last message.
    """

    def __init__(self, send: Send, silence_s: float, ping: bytes = COMMENT) -> None:
        """`ping` is sent once the stream has begun with an event; a comment before that."""
        self.is_writing = False
        self._send = send
        self._silence_s = silence_s
        self._ping = ping
        self._has_begun = False
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time()
        self._timer = self._loop.call_later(silence_s, self._due)
        self._pinging: asyncio.Task[None] | None = None

    def sent(self) -> None:
        """Note that an event was sent."""
        self.is_writing = False
        self._has_begun = True
        self._sent_at = self._loop.time()

    def close(self) -> None:
        """Send no more."""
        self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()

    def _due(self) -> None:
        left_s = self._sent_at + self._silence_s - self._loop.time()
        if left_s <= 0:
            # A writer that waits for a slow client has sent enough, and so has a ping that waits for it.
            if not self.is_writing and (self._pinging is None or self._pinging.done()):
                self._pinging = self._loop.create_task(self._send_ping(), name="ping")
            self._sent_at, left_s = self._loop.time(), self._silence_s
        self._timer = self._loop.call_later(left_s, self._due)

    async def _send_ping(self) -> None:
        ping = self._ping if self._has_begun else COMMENT
        await self._send({"type": "http.response.body", "body": ping, "more_body": True})
