"""A model replica's end of the connections by which answers reach the ingress; listener.py is the other end."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from deployments.errors import Unavailable
from deployments.infra.transport.client import ConnectionPool
from deployments.infra.transport.connection import Connection
from deployments.infra.transport.framing import BEAT, CHANNEL_BYTES, Frame
from deployments.models.delivery.wire import Control, Destination, Part, encode
from deployments.models.protocol import Frames, HandedOver, Message, Progress, Reply

logger = logging.getLogger(__name__)

NO_STREAM = bytes(CHANNEL_BYTES)
BEAT_S = 2.0
"""How often a connection by which answers go says that this process is not frozen."""
PART_BYTES = 1024 * 1024
"""What of a reply is sent at once: it occupies the event loop for about a millisecond."""


@dataclass(slots=True, eq=False)
class _Sending:
    """One answer on its way."""

    task: asyncio.Task[Any] | None
    may_move: bool
    """Whether another replica can go on with it."""
    is_handed_over: bool = False

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Delivery:
    """Sends the messages of generations where they are wanted, over one connection for each ingress replica."""

    def __init__(self) -> None:
        self._pool = ConnectionPool(self)
        self._senders: defaultdict[Connection, set[_Sending]] = defaultdict(set)
        self._is_leaving = False
        self._next_beat: asyncio.TimerHandle | None = None

    async def deliver(
        self,
        messages: AsyncGenerator[Message | Progress],
        to: Destination,
        may_be_kept: bool = True,
        may_move: bool = True,
    ) -> None:
        """Send all `messages`, and return when the last has been handed to the connection, or it was handed over.

        `may_be_kept` is what the reply says of itself; `may_move`: whether another replica can be asked the same.

        Raises Unavailable where the ingress cannot be reached, and is cancelled when the connection is lost:
        nobody is there to read the answer.
        """
        connection = await self._connection(to)
        if self._is_leaving:
            connection.write(to.stream, *encode(HandedOver()))
            return await messages.aclose()
        sending = _Sending(asyncio.current_task(), may_move)
        self._senders[connection].add(sending)
        if self._next_beat is None:
            self._beat()
        if not connection.is_local:
            # So the ingress knows by which connection it will come, and misses this machine before the first token.
            connection.write(to.stream, *encode(Progress(0, 0)))
        try:
            async with aclosing(messages):
                async for message in messages:
                    if isinstance(message, Frames) and message.tokens is None:
                        sending.may_move = False
                    elif isinstance(message, Reply) and not may_be_kept:
                        message = replace(message, may_be_kept=False)  # noqa: PLW2901 - the same, with a mark
                    last = await _last_part(message, connection, to.stream)
                    connection.write(to.stream, *encode(last))
                    await connection.writable()
        except asyncio.CancelledError:
            if not sending.is_handed_over or sending.task is None or sending.task.uncancel():
                raise
            connection.write(to.stream, *encode(HandedOver()))
        finally:
            senders = self._senders[connection]
            senders.discard(sending)
            if not senders:
                del self._senders[connection]  # a lost connection would be kept forever

    async def send(self, control: Control, to: Destination) -> None:
        """Send one message, without the promise that it arrives; raises Unavailable as `deliver` does."""
        (await self._connection(to)).write(to.stream, *encode(control))

    def hand_over(self, everything: bool = False) -> None:
        """Stop what another replica can go on with, and tell whoever reads it; from now on, refuse what is new too.

        `everything`: also what then ends in an error.
        """
        self._is_leaving = True
        for sending in [one for senders in self._senders.values() for one in senders]:
            if (sending.may_move or everything) and not sending.is_handed_over:
                sending.is_handed_over = True
                sending.stop()

    def close(self) -> None:
        """Close all connections, after what has been written."""
        if self._next_beat is not None:
            self._next_beat.cancel()
        self._pool.close()

    def receive(self, connection: Connection, frame: Frame) -> None:
        """Refuse whatever comes: nothing is sent this way."""
        raise ValueError(f"an unexpected frame of kind {frame.kind}")

    def lost(self, connection: Connection) -> None:
        """Cancel whoever sends by a connection."""
        for sending in self._senders.pop(connection, set()):
            sending.stop()

    def _beat(self) -> None:
        """Send a heartbeat to every process that it sends something to, as long as there are any."""
        for connection in self._senders:
            connection.write(NO_STREAM, BEAT, b"")
        self._next_beat = asyncio.get_running_loop().call_later(BEAT_S, self._beat) if self._senders else None

    async def _connection(self, to: Destination) -> Connection:
        try:
            return await self._pool.get(to.address)
        except ConnectionError as error:
            logger.warning("%s", error)
            raise Unavailable("The model's replica cannot reach the ingress.", None, 1.0) from None


async def _last_part(message: Message | Progress, connection: Connection, stream: bytes) -> Message | Progress:
    """Send the body of a large reply, other streams between its parts, and return what is still to be sent."""
    if not isinstance(message, Reply) or len(message.body) <= PART_BYTES:
        return message
    for at in range(0, len(message.body), PART_BYTES):
        connection.write(stream, *encode(Part(message.body[at : at + PART_BYTES])))
        await asyncio.sleep(0)
        await connection.writable()
    return replace(message, body=b"")
