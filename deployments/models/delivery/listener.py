"""The ingress's end of the connections by which replicas deliver answers; sender.py is the other end.

A handle call carries only a request's life (routing, failure, cancellation); the messages of all streams
between two replicas share one connection (infra/transport/).
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from deployments.errors import BodyTooLarge, Unavailable
from deployments.infra.transport.connection import Connection
from deployments.infra.transport.framing import BEAT, CHANNEL_BYTES, LEAVE, SUBSCRIBE, Frame
from deployments.infra.transport.server import Address, Server
from deployments.models.delivery.wire import MAX_MESSAGE_BYTES, Control, Destination, Part, decode
from deployments.models.protocol import Failed, Frames, HandedOver, Progress, Put, Reply

HANDED_OVER = "The model's replica stops before this answer's end; please try again."

logger = logging.getLogger(__name__)

LOOK_S = 1.0
SILENT_LOOKS = 12
"""Looks without a sign of life, at connections that give some every two seconds, after which the other end is frozen.

Its guard (infra/liveness/guard.py) ends a frozen replica before that, unless all of the machine's processes are frozen.
Looks are counted, not seconds: what has arrived while this process stood still is read before the next one.
"""


class Stream:
    """The messages of one answer on their way in; each is given to `put` as it arrives."""

    def __init__(self, destination: Destination, put: Put, forget: Callable[[bytes], None]) -> None:
        self.destination = destination
        self.has_ended = False
        """Whether the sender has sent its last message; else it may still be at work and must be told to stop."""
        self.is_lost = False
        """Whether the connection by which it came was lost, or the sender no longer has it."""
        self.is_handed_over = False
        """Whether it is lost because the sender stops, and said so."""
        self.source: object | None = None
        self.last_at: float | None = None
        """When the last frames came (monotonic seconds)."""
        self._put = put
        self._forget = forget
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._part_bytes = 0

    def receive(self, message: Frames | Reply | Failed | Progress | Part | HandedOver) -> None:
        """Take a message from the sender."""
        match message:
            case Frames():
                self.last_at = time.monotonic()
                self._put(message)
            case Progress():
                self._put(message)
            case Part(data):
                self._receive_part(data)
            case HandedOver():
                self.is_handed_over = True
                self.lose(HANDED_OVER)
            case Reply() if self._parts:
                self._end(replace(message, body=b"".join([*self._parts, message.body])))
            case Reply() | Failed():
                self._end(message)

    def lose(self, message: str) -> None:
        """End the stream, unless it has ended: its sender is gone."""
        if not self.has_ended:
            self.is_lost = True
            self.close()
            self._put(Failed(Unavailable(message, None, 1.0)))
            self._wake()

    async def ended(self, timeout_s: float) -> bool:
        """Wait until the sender's last message is here; False if it does not come in time, or the stream is lost."""
        if not self.has_ended and not self.is_lost:
            await asyncio.wait((self._waiting(),), timeout=timeout_s)
        return self.has_ended

    async def ended_or(self, call: "asyncio.Task[None]") -> None:
        """Wait until the sender's last message is here, the stream is lost, or `call` is done."""
        if not self.has_ended and not self.is_lost:
            # Not asyncio.wait: what it needs for two is held for as long as the stream is open.
            call.add_done_callback(self._wake)
            await self._waiting()

    def _waiting(self) -> "asyncio.Future[None]":
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def close(self) -> None:
        """Take the stream off the listener: what still comes for it is dropped."""
        self._parts.clear()
        self._forget(self.destination.stream)

    def _end(self, message: Reply | Failed) -> None:
        self.has_ended = True
        self.close()
        self._put(message)
        self._wake()

    def _wake(self, _call: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _receive_part(self, data: bytes) -> None:
        self._parts.append(data)
        self._part_bytes += len(data)
        if self._part_bytes > MAX_MESSAGE_BYTES:
            self.close()
            self._put(Failed(BodyTooLarge("The answer is too large.")))


class Listener:
    """Accepts the connections of replicas and hands what they send to the stream that it belongs to."""

    def __init__(self) -> None:
        self._server = Server(lambda: self, MAX_MESSAGE_BYTES)
        self._streams: dict[bytes, Stream] = {}
        self._address: Address | None = None
        self.on_control: Callable[[bytes, Control], None] = _ignore
        """Called with what another ingress replica asks for."""
        self._silent: dict[Connection, int] = {}
        """Of each connection that beats, how many looks have heard nothing."""
        self._next_look: asyncio.TimerHandle | None = None

    async def open(self, host: str, is_encrypted: bool | None = None) -> None:
        """Listen on a free port of `host`, the address under which replicas reach this process."""
        self._address = await self._server.open(host, is_encrypted)

    async def aclose(self) -> None:
        """Stop listening and close the connections; open streams are lost."""
        if self._next_look is not None:
            self._next_look.cancel()
        await self._server.aclose()

    @property
    def address(self) -> Address:
        """Where it listens, once it is open."""
        assert self._address is not None
        return self._address

    def stream(self, put: Put) -> Stream:
        """Return a new stream, whose messages are given to `put`; it must be closed, however it ends."""
        name = secrets.token_bytes(CHANNEL_BYTES)
        stream = self._streams[name] = Stream(Destination(self.address, name), put, self._forget)
        return stream

    def receive(self, connection: Connection, frame: Frame) -> None:
        """Give a message to its stream; one for a stream that is closed is dropped."""
        if frame.kind in (SUBSCRIBE, LEAVE):
            self.on_control(frame.channel, cast(Control, decode(frame)))
        elif frame.kind == BEAT:
            self._silent[connection] = 0
            if self._next_look is None:
                self._schedule_look()
        elif (stream := self._streams.get(frame.channel)) is not None:
            stream.source = connection
            stream.receive(cast(Frames | Reply | Failed | Progress | Part | HandedOver, decode(frame)))

    def lost(self, connection: Connection) -> None:
        """End the streams that came by a connection."""
        self._silent.pop(connection, None)
        for stream in list(self._streams.values()):
            if stream.source is connection:
                stream.lose("The model's replica was lost; please try again.")

    def lose(self, name: bytes) -> None:
        """End a stream as if its connection were lost."""
        if (stream := self._streams.get(name)) is not None:
            stream.lose("The answer is no longer being generated there; please try again.")

    def _schedule_look(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(LOOK_S, self._look) if self._silent else None

    def _look(self) -> None:
        """Close the connections by which streams come, and that no longer beat; the others need not beat now."""
        expected = {stream.source for stream in self._streams.values()}
        for connection, looks in list(self._silent.items()):
            is_silent = connection in expected and not connection.has_heard
            self._silent[connection] = looks + 1 if is_silent else 0
            connection.has_heard = False
            if looks + 1 >= SILENT_LOOKS and is_silent:
                logger.warning("a replica is frozen: its connection is closed, and its answers go on elsewhere")
                connection.abort()
        self._schedule_look()

    def _forget(self, name: bytes) -> None:
        self._streams.pop(name, None)


def _ignore(_stream: bytes, _control: Control) -> None: ...
