"""The cache deployment's end of the connections by which ingress replicas look up; asking.py is the other."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

from deployments.cache.claims import Claim
from deployments.cache.remote import Address, Found
from deployments.cache.wire import MAX_ASKED_BYTES, Asked, found, read_asked, taken
from deployments.detached import detached
from deployments.introduction import SECRET_BYTES, Introduced
from deployments.traces import trace

logger = logging.getLogger(__name__)

MAX_CALLS = 64
"""Look-ups of one connection that may be under way; an ingress replica has two, and as many more as it gave up."""
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""What may wait for an ingress that does not read, before its look-ups wait too."""

Lookup = Callable[[Sequence[str], Sequence[Claim | None]], Awaitable[Found]]


class LookupServer:
    """Answers the look-ups of all ingress replicas that connect."""

    def __init__(self, lookup: Lookup) -> None:
        """`lookup` answers; it never raises."""
        self._lookup = lookup
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._opening: asyncio.Task[asyncio.Server] | None = None
        self._connections: set[_Incoming] = set()

    async def address(self, host: str) -> Address:
        """Return where to connect; from the first call on, a free port of `host` is listened on."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = detached(self._open(host), "cache-look-up-server")
        server = await asyncio.shield(self._opening)
        return Address(host, server.sockets[0].getsockname()[1], self._secret)

    async def _open(self, host: str) -> asyncio.Server:
        def accept() -> _Incoming:
            return _Incoming(self._secret, self._lookup, self._connections)

        return await asyncio.get_running_loop().create_server(accept, host, 0)

    async def aclose(self) -> None:
        """Stop listening and close the connections; who waits hears of it at once."""
        opening, self._opening = self._opening, None
        if opening is not None:
            (await opening).close()
        for connection in list(self._connections):
            connection.close()


class _Incoming(Introduced):
    """One ingress replica's connection, among `connections` while it is open."""

    def __init__(self, secret: bytes, lookup: Lookup, connections: "set[_Incoming]") -> None:
        super().__init__(secret)
        self._lookup = lookup
        self._connections = connections
        self._calls: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._transport is not None:
            self._transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        self._connections.add(self)

    def received(self, buffer: bytearray) -> None:
        for number, payload in taken(buffer, MAX_ASKED_BYTES):
            if len(self._calls) >= MAX_CALLS:
                raise ValueError("too many look-ups at once")
            call = asyncio.create_task(self._answer(number, read_asked(payload)))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _answer(self, number: int, asked: Asked) -> None:
        try:
            answer = found(number, await self._lookup(asked.keys, asked.claims))
        except Exception as error:  # noqa: BLE001 - the border to the other replica, which asks by the handle then
            logger.error("a look-up failed: %s", trace(error))
            self.close()
        else:
            if self._transport is not None:
                self._transport.write(answer)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.discard(self)
        for call in self._calls:
            call.cancel()
