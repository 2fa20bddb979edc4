"""Flights of other ingress replicas: asked for there, delivered here as a model replica would.

    here ── Subscribe(an inbox of ours) ──▶ the replica where it flies
    inbox ◀── an empty frame: yes · all messages so far · the live tail ──
          ◀── Leave: not here, or no more

An empty frame follows whenever nothing else did for a second. So a replica that
is lost, frozen or cut off is noticed by its silence.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from hashlib import blake2b
from typing import Any

import msgspec

from deployments.errors import ChatLLMError, Unavailable
from deployments.flights.flight import Flight
from deployments.models.delivery import Delivery
from deployments.models.listener import Listener
from deployments.models.protocol import Failed, Frames, Message
from deployments.models.wire import STREAM_BYTES, Asked, Destination, Leave, Subscribe

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 2.0
HEARTBEAT_S = 1.0
SILENCE_S = 5.0
ARRIVAL_S = 0.3
"""How long a flight that was claimed here may take to start: the one who claimed it hears of it last."""

YES = Frames(b"")


class FlightLost(Exception):
    """The other replica does not have the flight, or is lost itself."""


class Neighbours:
    """The flights of others for this replica, and its own for others."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._delivery = Delivery()
        self._find: Callable[[bytes], Flight | None] = lambda _: None
        self._served: dict[bytes, asyncio.Task[None]] = {}

    def serve(self, find: Callable[[bytes], Flight | None]) -> None:
        """Give others the flights that `find` returns for their streams."""
        self._find = find
        self._listener.on_asked = self._asked

    @property
    def address(self) -> bytes:
        """Where others ask for the flights of this replica; whoever knows it may: keep it secret."""
        return msgspec.msgpack.encode(self._listener.destination(b""))

    def stream(self, name: str) -> bytes:
        """Return the stream of a flight of this replica, which none can tell who does not know its address."""
        return _stream(name, self._listener.secret)

    async def messages(self, address: bytes, name: str) -> AsyncGenerator[Message]:
        """Yield the messages of a flight elsewhere, from the first on; raises FlightLost at any point."""
        holder = msgspec.msgpack.decode(address, type=Destination)
        there = Destination(holder.host, holder.port, holder.secret, _stream(name, holder.secret))
        inbox, has_ended = self._listener.inbox(), False
        try:
            await self._send(Subscribe(inbox.destination), there)
            message = await inbox.get(ANSWER_TIMEOUT_S)
            while isinstance(message, Frames):
                if message.data:
                    yield message
                message = await inbox.get(SILENCE_S)
            has_ended = not inbox.is_cut
            if inbox.is_lost and isinstance(message, Failed):
                raise FlightLost
            yield message
        except (TimeoutError, Unavailable):
            raise FlightLost from None
        finally:
            inbox.close()
            if not has_ended:
                self._later(inbox.destination.stream, self._tell(Leave(inbox.destination.stream), there))

    async def aclose(self) -> None:
        """Close all connections: those who read flights of this replica go on without it."""
        for task in list(self._served.values()):
            task.cancel()
        self._delivery.close()
        await asyncio.gather(*self._served.values(), return_exceptions=True)

    async def _send(self, asked: Asked, there: Destination) -> None:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._delivery.send(asked, there)

    async def _tell(self, asked: Asked, there: Destination) -> None:
        with suppress(TimeoutError, ChatLLMError):
            await self._send(asked, there)

    def _asked(self, stream: bytes, asked: Asked) -> None:
        match asked:
            case Subscribe(to):
                self._later(to.stream, self._deliver(stream, to))
            case Leave(left):
                if task := self._served.get(left):
                    task.cancel()
                self._listener.lose(left)

    def _later(self, stream: bytes, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="flight-neighbour")
        self._served[stream] = task
        task.add_done_callback(lambda _: self._served.pop(stream, None))

    async def _deliver(self, stream: bytes, to: Destination) -> None:
        flight = await self._arrived(stream)
        if flight is not None:
            with suppress(ChatLLMError):
                await self._delivery.deliver(_going(flight), to)
        if flight is None or flight.is_stopped:
            await self._tell(Leave(to.stream), to)

    async def _arrived(self, stream: bytes) -> Flight | None:
        for _ in range(round(ARRIVAL_S / 0.01)):
            if flight := self._find(stream):
                return flight
            await asyncio.sleep(0.01)
        return None


async def _going(flight: Flight) -> AsyncGenerator[Message]:
    """Yield the messages of a flight, with heartbeats, without the failure that stopping it is to its own readers."""
    async with aclosing(beating(flight.read())) as messages:
        async for message in messages:
            if not (flight.is_stopped and isinstance(message, Failed)):
                yield message


async def beating(messages: AsyncGenerator[Message]) -> AsyncGenerator[Message]:
    """Yield an empty frame, then `messages`, and an empty frame whenever none came for a second."""
    yield YES
    following = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=HEARTBEAT_S)
            message = following.result() if done else YES
            if message is None:
                return
            if done:
                following = asyncio.ensure_future(anext(messages, None))
            yield message
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await messages.aclose()


def _stream(name: str, secret: bytes) -> bytes:
    return blake2b(name.encode(), key=secret, digest_size=STREAM_BYTES).digest()
