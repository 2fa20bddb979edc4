"""A model replica's end of the connections by which answers reach the ingress; listener.py is the other.

What one turn of the event loop produced for all streams of an ingress leaves in
one piece. So nothing waits for a timer, and under load, when the engine hands
over a token for every stream at once, that is one write.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from deployments.errors import Unavailable
from deployments.models.protocol import Message, Progress, Reply
from deployments.models.wire import Asked, Destination, Part, encode

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""What may wait for an ingress that does not read, before the generating waits too."""

PART_BYTES = 1024 * 1024
"""What of a reply is sent at once: it occupies the event loop for about a millisecond."""


class Delivery:
    """Sends the messages of generations where they are wanted, over one connection for each ingress replica."""

    def __init__(self) -> None:
        self._connections: dict[bytes, asyncio.Task[_Outgoing]] = {}

    async def deliver(self, messages: AsyncGenerator[Message | Progress], to: Destination) -> None:
        """Send all `messages`, and return when the last has been handed to the connection.

        Raises Unavailable where the ingress cannot be reached, and is cancelled
        when the connection is lost: nobody is there to read the answer.
        """
        connection = await self._connection(to)
        task = asyncio.current_task()
        connection.senders.add(task)
        try:
            async with aclosing(messages):
                async for message in messages:
                    last = await _last_part(message, connection, to.stream)
                    connection.write(encode(to.stream, last))
                    if not connection.is_writable.is_set():
                        await connection.is_writable.wait()
        finally:
            connection.senders.discard(task)

    async def send(self, asked: Asked, to: Destination) -> None:
        """Send one message, without the promise that it arrives; raises Unavailable as `deliver` does."""
        (await self._connection(to)).write(encode(to.stream, asked))

    def close(self) -> None:
        """Close all connections at once."""
        for task in self._connections.values():
            task.cancel()
            if not _is_lost(task) and task.done():
                task.result().close()
        self._connections.clear()

    async def _connection(self, to: Destination) -> "_Outgoing":
        known = self._connections.get(to.secret)
        if known is None or _is_lost(known):
            self._connections = {secret: task for secret, task in self._connections.items() if not _is_lost(task)}
            known = self._connections[to.secret] = asyncio.create_task(_connect(to))
        try:
            return await asyncio.shield(known)
        except (OSError, TimeoutError) as error:
            logger.warning("an ingress replica cannot be reached: %s", type(error).__name__)
            raise Unavailable("The model's replica cannot reach the ingress.", None, 1.0) from None


async def _last_part(message: Message | Progress, connection: "_Outgoing", stream: bytes) -> Message | Progress:
    """Send the body of a large reply, other streams between its parts, and return what is still to be sent."""
    if not isinstance(message, Reply) or len(message.body) <= PART_BYTES:
        return message
    for at in range(0, len(message.body), PART_BYTES):
        connection.write(encode(stream, Part(message.body[at : at + PART_BYTES])))
        await asyncio.sleep(0)
        await connection.is_writable.wait()
    return replace(message, body=b"")


def _is_lost(task: "asyncio.Task[_Outgoing]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None or task.result().is_lost)


async def _connect(to: Destination) -> "_Outgoing":
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        _, connection = await asyncio.get_running_loop().create_connection(_Outgoing, to.host, to.port)
    connection.write(to.secret)
    return connection


class _Outgoing(asyncio.Protocol):
    """One connection to an ingress replica."""

    def __init__(self) -> None:
        self.senders: set[asyncio.Task[Any] | None] = set()
        self.is_writable = asyncio.Event()
        self.is_writable.set()
        self.is_lost = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(MAX_UNSENT_BYTES)

    def close(self) -> None:
        """Close at once, after what has been written."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def write(self, piece: bytes) -> None:
        """Send `piece` once the other tasks that are ready now have had their turn."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(piece)

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if self._transport is not None and not self.is_lost:
            self._transport.write(b"".join(pieces))

    def pause_writing(self) -> None:
        self.is_writable.clear()

    def resume_writing(self) -> None:
        self.is_writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        for sender in self.senders:
            if sender is not None:
                sender.cancel()
