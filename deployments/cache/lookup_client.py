"""Look-ups by connections of their own, past Serve's handles; lookup_server.py is the other end.

Each ingress replica keeps a connection to each replica of the cache deployment (infra/transport/). The handle
tells where they are, every few seconds again, and carries everything else, and look-ups too while there is no
connection. Serve counts the calls of handles and does not see these look-ups: a replica reports its processor time.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from deployments.cache.claims import Claim
from deployments.cache.remote import HandleCache, LookupReply
from deployments.cache.wire import MAX_REPLY_BYTES, channel, decode_reply, encode_lookup, number_of
from deployments.infra.detached import detached
from deployments.infra.transport.client import ConnectionPool
from deployments.infra.transport.connection import Connection
from deployments.infra.transport.framing import Frame
from deployments.infra.transport.server import Address

logger = logging.getLogger(__name__)

REFRESH_S = 5.0
REFRESH_TIMEOUT_S = 2.0
AGAIN_S = 0.2
"""When the replicas are asked again after a connection was lost."""
SILENCE_S = 2.0
"""A replica that tells its address but owes an answer for so long cannot be reached by this connection."""
MAX_PENDING = 32
"""Look-ups that a connection may owe; half of what the other end takes."""


class ConnectedCache(HandleCache):
    """The `CacheLookup` deployment behind its Serve handle, with a connection to each of its replicas."""

    def __init__(self, handle: Any) -> None:
        super().__init__(handle)
        self._pool = ConnectionPool(self, MAX_REPLY_BYTES)
        self._replicas: dict[Address, _Replica] = {}
        self._by_connection: dict[Connection, _Replica] = {}
        self._refresh_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin to connect, so that no look-up waits for it; goes on until a replica is there. Returns at once."""
        self._connecting = detached(self._until_connected(), "cache-connections")

    async def _until_connected(self) -> None:
        while not self._replicas:
            self._refresh_at = float("-inf")
            self._refresh_when_due()
            if self._refreshing is not None:
                await asyncio.wait((self._refreshing,))
            await asyncio.sleep(AGAIN_S)

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        self._refresh_when_due()
        # In turn; but one that is frozen owes more and more, so that it is asked no longer.
        usable = (replica for replica in self._replicas.values() if replica.is_usable)
        replica = min(usable, key=lambda one: (one.pending, one.sent_at), default=None)
        if replica is not None:
            try:
                return await replica.lookup(keys, claims)
            except ConnectionError:
                self._refresh_at = min(self._refresh_at, time.monotonic() + AGAIN_S)
        return await super().lookup(keys, claims)

    async def aclose(self) -> None:
        for task in filter(None, (self._connecting, self._refreshing)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for address in self._replicas:
            self._pool.discard(address)
        self._pool.close()

    def receive(self, connection: Connection, frame: Frame) -> None:
        replica = self._by_connection.get(connection)
        if replica is None:
            raise ValueError("a reply to no look-up")
        replica.receive(frame)

    def lost(self, connection: Connection) -> None:
        replica = self._by_connection.pop(connection, None)
        if replica is not None:
            replica.lost()

    def _refresh_when_due(self) -> None:
        if time.monotonic() >= self._refresh_at and (self._refreshing is None or self._refreshing.done()):
            self._refresh_at = time.monotonic() + REFRESH_S
            self._refreshing = detached(self._refresh(), "cache-addresses")

    async def _refresh(self) -> None:
        """Connect to the replicas that there are now, and leave those that are gone.

        A replica that does not tell its address keeps the connection that it has, and holds up no other.
        """
        try:
            found, are_all = await self.addresses(REFRESH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the boundary to the other replicas: the handle still carries look-ups
            logger.warning("the cache's replicas are unknown", extra={"error": type(error).__name__})
            return
        if not are_all:
            logger.warning("not every replica of the cache reports its address")
        addresses = set(found)
        await asyncio.gather(*map(self._connect, addresses))
        for address in self._replicas.keys() - addresses:
            if are_all or self._replicas[address].is_lost:
                del self._replicas[address]
                self._pool.discard(address)

    async def _connect(self, address: Address) -> None:
        known = self._replicas.get(address)
        if known is not None and known.is_silent:
            self._pool.discard(address)
        elif known is not None and not known.is_lost:
            return
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S):
                connection = await self._pool.get(address)
            if connection.is_lost:  # `lost` was called before it could find a replica, and is not called again
                raise ConnectionResetError
        except (ConnectionError, TimeoutError) as error:
            self._pool.discard(address)
            logger.warning("a replica of the cache cannot be reached", extra={"error": type(error).__name__})
            return
        self._replicas[address] = self._by_connection[connection] = _Replica(connection)
        logger.info("a replica of the cache is connected")


class _Replica:
    """One replica of the cache deployment, by its connection."""

    def __init__(self, connection: Connection) -> None:
        self.sent_at = float("-inf")
        self._connection = connection
        self._number = 0
        # Oldest first, with the time when it was asked; those too whose caller has given up.
        self._pending: dict[int, tuple[float, asyncio.Future[LookupReply]]] = {}

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked."""
        return not self.is_lost and len(self._pending) < MAX_PENDING

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._connection.is_lost

    @property
    def pending(self) -> int:
        """Look-ups that have no result yet."""
        return len(self._pending)

    @property
    def is_silent(self) -> bool:
        """Whether the oldest of them has waited too long."""
        oldest = next((sent_at for sent_at, _ in self._pending.values()), float("inf"))
        return time.monotonic() - oldest >= SILENCE_S

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None]) -> LookupReply:
        """Look up; raises ConnectionError if the replica is lost."""
        if self.is_lost:
            raise ConnectionResetError
        self._number += 1
        self.sent_at = time.monotonic()
        result: asyncio.Future[LookupReply] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = self.sent_at, result
        self._connection.write(channel(self._number), *encode_lookup(keys, claims))
        return await result

    def receive(self, frame: Frame) -> None:
        """Hand a reply to whoever waits for it; raises ValueError for what is none."""
        found = decode_reply(frame)
        _, result = self._pending.pop(number_of(frame), (0.0, None))
        if result is not None and not result.done():
            result.set_result(found)

    def lost(self) -> None:
        """Fail whoever waits with ConnectionError: they look up elsewhere."""
        pending, self._pending = self._pending, {}
        for _, result in pending.values():
            if not result.done():
                result.set_exception(ConnectionResetError())
