"""Look-ups by connections of their own, round Serve's handles.

A look-up through a handle takes more than twice as long, and nearly all of that is the call's: Redis
takes half a millisecond. So each ingress replica keeps a connection to each replica of the cache
deployment; answering.py is the other end, wire.py the form. The handle tells where they are,
every few seconds again, carries everything else, and look-ups too where no connection is
up. Serve counts and scales by the calls of handles: it does not see these look-ups.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, cast

from deployments.cache.claims import Claim
from deployments.cache.remote import Address, Found, HandleCache
from deployments.cache.wire import MAX_FOUND_BYTES, MAX_NUMBER, asked, read_found, taken
from deployments.detached import detached

logger = logging.getLogger(__name__)

REFRESH_S = 5.0
REFRESH_TIMEOUT_S = 2.0
AGAIN_S = 0.2
"""When the replicas are asked again after a connection was lost."""
SILENCE_S = 2.0
"""A replica that tells its address but owes an answer for so long cannot be reached by this connection."""
MAX_UNANSWERED = 32
"""Look-ups that a connection may owe; half of what the other end takes."""


class ConnectedCache(HandleCache):
    """The `CacheLookup` deployment behind its Serve handle, with a connection to each of its replicas."""

    def __init__(self, handle: Any) -> None:
        super().__init__(handle)
        self._connections: dict[Address, _Connection] = {}
        self._refresh_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin to connect, so that no look-up waits for it; goes on until a replica is there. Returns at once."""
        self._connecting = detached(self._until_connected(), "cache-connections")

    async def _until_connected(self) -> None:
        while not self._connections:
            self._refresh_at = float("-inf")
            self._refresh_when_due()
            if self._refreshing is not None:
                await asyncio.wait((self._refreshing,))
            await asyncio.sleep(AGAIN_S)

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> Found:
        self._refresh_when_due()
        # In turn; but one that is frozen owes more and more, so that it is asked no longer.
        connection = min(self._usable(), key=lambda c: (c.unanswered, c.asked_at), default=None)
        if connection is not None:
            try:
                return await connection.ask(keys, claims)
            except ConnectionError:
                self._refresh_at = min(self._refresh_at, time.monotonic() + AGAIN_S)
        return await super().lookup(keys, claims)

    async def aclose(self) -> None:
        for task in filter(None, (self._connecting, self._refreshing)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for connection in self._connections.values():
            connection.close()

    def _usable(self) -> Iterable["_Connection"]:
        return (c for c in self._connections.values() if not c.is_lost and c.unanswered < MAX_UNANSWERED)

    def _refresh_when_due(self) -> None:
        if time.monotonic() >= self._refresh_at and (self._refreshing is None or self._refreshing.done()):
            self._refresh_at = time.monotonic() + REFRESH_S
            self._refreshing = detached(self._refresh(), "cache-addresses")

    async def _refresh(self) -> None:
        """Connect to the replicas that there are now, and leave those that are gone.

        A replica that does not tell its address keeps the connection that it has, and holds up no other.
        """
        try:
            told, are_all = await self.addresses(REFRESH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the border to the other replicas: the handle still carries look-ups
            logger.warning("the cache's replicas are unknown", extra={"error": type(error).__name__})
            return
        if not are_all:
            logger.warning("not every replica of the cache tells its address")
        addresses = set(told)
        await asyncio.gather(*map(self._connect, addresses))
        for address in self._connections.keys() - addresses:
            if are_all or self._connections[address].is_lost:
                self._connections.pop(address).close()

    async def _connect(self, address: Address) -> None:
        known = self._connections.get(address)
        if known is not None:
            if not known.is_lost and time.monotonic() - known.owes_since < SILENCE_S:
                return
            known.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                _, made = await loop.create_connection(lambda: _Connection(address.secret), address.host, address.port)
        except OSError as error:  # a TimeoutError is one
            logger.warning("a replica of the cache cannot be reached", extra={"error": type(error).__name__})
            return
        self._connections[address] = made
        logger.info("a replica of the cache is connected")


class _Connection(asyncio.Protocol):
    """A connection to one replica of the cache deployment."""

    def __init__(self, secret: bytes) -> None:
        self.is_lost = False
        self._secret = secret
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._number = 0
        # Oldest first, with the time when it was asked; those too whose asker has given up.
        self._waiting: dict[int, tuple[float, asyncio.Future[Found]]] = {}
        self.asked_at = float("-inf")

    @property
    def unanswered(self) -> int:
        """Look-ups that have no answer yet."""
        return len(self._waiting)

    @property
    def owes_since(self) -> float:
        """When the oldest look-up without an answer was asked (monotonic seconds); infinite if there is none."""
        return next((asked_at for asked_at, _ in self._waiting.values()), float("inf"))

    async def ask(self, keys: Sequence[str], claims: Sequence[Claim | None]) -> Found:
        """Look up; raises ConnectionError if the replica is lost."""
        if self._transport is None or self.is_lost:
            raise ConnectionResetError
        self._number = (self._number + 1) % MAX_NUMBER
        self.asked_at = time.monotonic()
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = self.asked_at, answer
        self._transport.write(asked(self._number, keys, claims))
        return await answer

    def close(self) -> None:
        """Close; who waits asks elsewhere."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.write(self._secret)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for number, payload in taken(self._buffer, MAX_FOUND_BYTES):
                found = read_found(payload)
                _, answer = self._waiting.pop(number, (0.0, None))
                if answer is not None and not answer.done():
                    answer.set_result(found)
        except ValueError:  # msgspec's DecodeError is one
            logger.warning("a connection was closed: what it sent is no answer to a look-up")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError())
