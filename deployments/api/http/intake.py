"""What requests are let in while the whole service stops, and how many are under way."""

import asyncio
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.api.http.replies import error_response
from deployments.errors import Unavailable

HEALTH = ("/health", "/ready")
STREAMS = "/v1/streams/"
RESTART_S = 30.0
"""After how long a client that is refused is told to come again: about as long as a restart takes."""


@dataclass(slots=True)
class Intake:
    """Whether new requests are let in; one for each ingress replica."""

    is_closed: bool = False
    running: int = 0
    """Requests under way, but those for the replica's health."""
    ending: "asyncio.Task[None] | None" = None
    """What ends the replica's work together with the whole service, once Serve stops it."""
    _is_idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def idle(self) -> None:
        """Wait until no request is under way."""
        while self.running:
            self._is_idle.clear()
            await self._is_idle.wait()

    def count(self, change: int) -> None:
        """Add to what is under way."""
        self.running += change
        if not self.running:
            self._is_idle.set()


class IntakeControl:
    """Refuses new requests once the intake is closed; who comes back to a stream that still runs is let in."""

    def __init__(self, app: ASGIApp, intake: Intake) -> None:
        self._app = app
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH[0]:
            await self._app(scope, receive, send)
        elif self._intake.is_closed and not (scope["method"] == "GET" and scope["path"].startswith(STREAMS)):
            refused = Unavailable("The service is stopping; please come again later.", None, RESTART_S)
            await error_response(refused, scope["state"]["request_id"], scope)(scope, receive, send)
        elif scope["path"] in HEALTH:
            await self._app(scope, receive, send)
        else:
            self._intake.count(1)
            try:
                await self._app(scope, receive, send)
            finally:
                self._intake.count(-1)
