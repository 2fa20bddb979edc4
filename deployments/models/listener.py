"""The ingress's end of the connections by which model replicas deliver answers.

A streamed call through a Serve handle costs its receiver about 190 µs a message,
most of it gRPC's. So the handle call only carries a request's life (routing,
failure, cancellation), and the frames of all streams between two replicas share
one TCP connection; delivery.py is the other end, wire.py the form.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from deployments.errors import BodyTooLarge, ChatLLMError, Overloaded, Unavailable
from deployments.introduction import SECRET_BYTES, Introduced
from deployments.models.protocol import Failed, Frames, Message, Progress, Reply, Spent
from deployments.models.wire import (
    MAX_MESSAGE_BYTES,
    STREAM_BYTES,
    Asked,
    Crossing,
    Destination,
    Leave,
    Part,
    Subscribe,
    decode,
)

MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""What may wait for a client that reads slowly before its answer is given up."""


class Inbox:
    """The messages of one stream, for one reader."""

    def __init__(self, destination: Destination, forget: Callable[[bytes], None]) -> None:
        self.destination = destination
        self.is_open = True
        self.is_lost = False
        self.is_cut = False
        """Whether the stream was ended here: its sender may still be at work, and must be told to stop."""
        self.spent = Spent()
        self._forget = forget
        self.source: object | None = None
        self._waiting: deque[Message] = deque()
        self._unread_bytes = 0
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._arrived: asyncio.Future[None] | None = None

    def put_part(self, data: bytes) -> None:
        """Take a piece of the body of the reply that is to follow; one of more than 256 MiB is a failure."""
        self._parts.append(data)
        self._part_bytes += len(data)
        if self._part_bytes > MAX_MESSAGE_BYTES:
            self._parts.clear()
            self.is_cut = True
            self.fail(BodyTooLarge("The answer is too large."))
            self.close()

    def put(self, message: Message) -> None:
        """Take a message for the reader; with 16 MiB unread the stream ends in failure, so that memory is bounded."""
        if isinstance(message, Reply) and self._parts:
            message = replace(message, body=b"".join([*self._parts, message.body]))
            self._parts.clear()
        if isinstance(message, Frames):
            self._unread_bytes += len(message.data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.close()
                self.is_cut = True
                message = Failed(Overloaded("The answer was not read fast enough.", None, 1.0))
        self._waiting.append(message)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def close(self) -> None:
        """Take the stream off the listener: what still comes for it is dropped."""
        self.is_open = False
        self._forget(self.destination.stream)

    def fail(self, error: ChatLLMError) -> None:
        """End the stream in failure, after what has arrived."""
        self.put(Failed(error))

    async def get(self, timeout_s: float) -> Message:
        """Return the next message, with all frames that wait together as one; raises TimeoutError."""
        if not self._waiting:
            await self._arrival(timeout_s)
        message = self._waiting.popleft()
        if not isinstance(message, Frames):
            return message
        parts = [message.data]
        while self._waiting and isinstance(following := self._waiting[0], Frames):
            parts.append(following.data)
            self._waiting.popleft()
        self._unread_bytes = 0
        return Frames(b"".join(parts)) if len(parts) > 1 else message

    async def _arrival(self, timeout_s: float) -> None:
        # Not asyncio.timeout: this runs for every frame, and a future with a timer costs a third of it.
        loop = asyncio.get_running_loop()
        arrived = self._arrived = loop.create_future()
        timer = loop.call_later(max(0.0, timeout_s), _expire, arrived)
        try:
            await arrived
        finally:
            timer.cancel()
            self._arrived = None


def _expire(arrived: "asyncio.Future[None]") -> None:
    if not arrived.done():
        arrived.set_exception(TimeoutError())


class Listener:
    """Accepts the connections of model replicas and sorts what they send by stream."""

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(SECRET_BYTES)
        self._inboxes: dict[bytes, Inbox] = {}
        self._connections: set[_Incoming] = set()
        self._server: asyncio.Server | None = None
        self._address = ("", 0)
        self.on_asked: Callable[[bytes, Asked], None] = _ignore
        """Called with what another ingress replica asks for."""

    async def open(self, host: str) -> None:
        """Listen on a free port of `host`, the address under which replicas reach this process."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Incoming(self), host, 0)
        self._address = (host, self._server.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        """Stop listening and close the connections; streams that are open fail."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def inbox(self) -> Inbox:
        """Return the inbox of a new stream; its reader must close it, however the stream ends."""
        stream = secrets.token_bytes(STREAM_BYTES)
        inbox = self._inboxes[stream] = Inbox(self.destination(stream), self._forget)
        return inbox

    def destination(self, stream: bytes) -> Destination:
        """Return where a message to `stream` of this replica is sent."""
        return Destination(*self._address, self.secret, stream)

    def _forget(self, stream: bytes) -> None:
        self._inboxes.pop(stream, None)

    def receive(self, source: object, stream: bytes, message: Crossing) -> None:
        """Give a message to its stream; one for a stream that is over is dropped."""
        if isinstance(message, Subscribe | Leave):
            self.on_asked(stream, message)
            return
        inbox = self._inboxes.get(stream)
        if inbox is None:
            return
        inbox.source = source
        if isinstance(message, Progress):
            message.tell(inbox.spent)
        elif isinstance(message, Part):
            inbox.put_part(message.data)
        else:
            inbox.put(message)

    def lose(self, stream: bytes) -> None:
        """Fail a stream as if its connection were lost."""
        inbox = self._inboxes.get(stream)
        if inbox is not None:
            inbox.is_lost = True
            inbox.fail(Unavailable("The answer is no longer being generated there; please try again.", None, 1.0))

    def connected(self, connection: "_Incoming") -> None:
        """Note a connection."""
        self._connections.add(connection)

    def lost(self, connection: "_Incoming") -> None:
        """Fail the streams that came by a connection."""
        self._connections.discard(connection)
        for inbox in list(self._inboxes.values()):
            if inbox.source is connection:
                inbox.is_lost = inbox.is_cut = True
                inbox.fail(Unavailable("The model's replica was lost; please try again.", None, 1.0))


def _ignore(_stream: bytes, _asked: Asked) -> None: ...


class _Incoming(Introduced):
    """One replica's connection."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.secret)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.connected(self)

    def received(self, buffer: bytearray) -> None:
        for stream, message in decode(buffer):
            self._listener.receive(self, stream, message)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener.lost(self)
