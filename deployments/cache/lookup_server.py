"""The cache deployment's end of the connections by which ingress replicas look up; lookup_client.py is the other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.cache.claims import Claim
from deployments.cache.remote import LookupReply
from deployments.cache.wire import MAX_LOOKUP_BYTES, decode_lookup, encode_reply
from deployments.infra.detached import detached
from deployments.infra.traces import trace
from deployments.infra.transport.connection import Connection
from deployments.infra.transport.framing import Frame
from deployments.infra.transport.server import Address, Server

logger = logging.getLogger(__name__)

MAX_CALLS = 64
"""Look-ups of one connection that may be under way; an ingress replica has two, and as many more as it gave up."""

LookUp = Callable[[Sequence[str], Sequence[Claim | None]], Awaitable[LookupReply]]


class LookupServer:
    """Answers the look-ups of all ingress replicas that connect."""

    def __init__(self, look_up: LookUp) -> None:
        """`look_up` answers; it never raises."""
        self._server = Server(lambda: _Calls(look_up), MAX_LOOKUP_BYTES)
        self._opening: asyncio.Task[Address] | None = None

    async def address(self, host: str, is_encrypted: bool | None = None) -> Address:
        """Return where to connect; from the first call on, a free port of `host` is listened on."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = detached(self._server.open(host, is_encrypted), "cache-lookup-server")
        return await asyncio.shield(self._opening)

    async def aclose(self) -> None:
        """Stop listening and close the connections; pending requests fail at once."""
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening
        await self._server.aclose()


class _Calls:
    """The look-ups of one ingress replica that are under way."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, connection: Connection, frame: Frame) -> None:
        if len(self._tasks) >= MAX_CALLS:
            raise ValueError("too many look-ups at once")
        lookup = decode_lookup(frame)
        task = asyncio.create_task(self._answer(connection, frame.channel, lookup.keys, lookup.claims))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lost(self, connection: Connection) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(
        self, connection: Connection, channel: bytes, keys: Sequence[str], claims: Sequence[Claim | None]
    ) -> None:
        try:
            found = encode_reply(await self._look_up(keys, claims))
        except Exception as error:  # noqa: BLE001 - the other replica asks by the handle then
            logger.error("a look-up failed: %s", trace(error))
            connection.abort()
        else:
            connection.write(channel, *found)
