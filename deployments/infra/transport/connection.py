"""Both ends of a connection between two replicas."""

import asyncio
import hmac
import logging
import socket
from collections.abc import Mapping
from typing import ClassVar, Protocol, cast

from deployments.infra.transport.framing import MAX_FRAME_BYTES, Frame, decode, encode

logger = logging.getLogger(__name__)

SECRET_BYTES = 32
HANDSHAKE_TIMEOUT_S = 5.0
MAX_UNSENT_BYTES = 8 * 1024 * 1024
"""What may wait for an end that does not read, before whoever writes must wait too."""
PROBES = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
"""By these, in seconds, whoever listens misses a machine that vanishes after four, however busy its processes are."""
UNSENT = {"TCP_USER_TIMEOUT": 30_000}
"""For how many milliseconds what was sent may stay without the kernel's receipt, or unread at the other end."""


class Receiver(Protocol):
    """Whom a connection tells what comes."""

    def receive(self, connection: "Connection", frame: Frame) -> None:
        """Take a frame; raises ValueError for what is none of ours, which closes the connection. Never waits."""
        ...

    def lost(self, connection: "Connection") -> None:
        """Called once when a connection that was made has ended, for whatever reason."""
        ...


class Connection(asyncio.Protocol):
    """One end; what is written in one turn of the event loop leaves in one piece.

    So nothing waits for a timer, and under load, when an engine hands over a token for every stream at once,
    that is one write.
    """

    kernel_notices: ClassVar[Mapping[str, int]] = PROBES

    def __init__(self, receiver: Receiver, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.is_lost = False
        self.has_heard = False
        """Whether anything has come; whoever wants to know whether more comes sets it back."""
        self.is_local = False
        """Whether both ends are on one machine, once it is made."""
        self._receiver = receiver
        self._max_frame_bytes = max_frame_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pieces: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()

    def write(self, channel: bytes, kind: int, payload: bytes) -> None:
        """Send a frame once the other tasks that are ready now have had their turn; nothing, if it is lost."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(encode(channel, kind, payload))

    async def writable(self) -> None:
        """Wait while 8 MiB wait to be sent."""
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Close, after what has been written."""
        self._flush()
        self.is_lost = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.is_lost = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(MAX_UNSENT_BYTES)
        self.is_local = _host(transport, "sockname") == _host(transport, "peername")
        # A node that vanishes says nothing: the kernel asks after it, else its connection would stay forever.
        _set(transport.get_extra_info("socket"), self.kernel_notices)

    def data_received(self, data: bytes) -> None:
        self.has_heard = True
        self._buffer += data
        try:
            if self._is_authenticated():
                for frame in decode(self._buffer, self._max_frame_bytes):
                    self._receiver.receive(self, frame)
        except ValueError:  # msgspec's DecodeError is one
            logger.warning("a connection was closed: what it sent is not a replica's frame")
            self.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._writable.set()
        self._receiver.lost(self)

    def _is_authenticated(self) -> bool:
        """Whether the other end may be heard; raises ValueError if it may not."""
        return True

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if self._transport is not None and not self.is_lost:
            self._transport.write(b"".join(pieces))


def _host(transport: asyncio.BaseTransport, end: str) -> str:
    return (transport.get_extra_info(end) or ("",))[0]


def _set(of: socket.socket, options: Mapping[str, int]) -> None:
    of.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):  # all but the first two are Linux's
            of.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class AcceptedConnection(Connection):
    """The accepting end: closed for a wrong secret, and for one that does not come within five seconds."""

    def __init__(
        self, receiver: Receiver, secret: bytes, max_frame_bytes: int, accepted: "set[AcceptedConnection]"
    ) -> None:
        """`accepted` has it while it is open."""
        super().__init__(receiver, max_frame_bytes)
        self._secret = secret
        self._accepted = accepted
        self._has_secret = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._accepted.add(self)
        self._deadline = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._accepted.discard(self)
        self._cancel_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Read no more either: what comes asks for answers, and those that wait are not read.

        Only this end does so; if both did, each could wait for the other.
        """
        super().pause_writing()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._transport is not None:
            self._transport.resume_reading()

    def _is_authenticated(self) -> bool:
        if self._has_secret:
            return True
        if len(self._buffer) < SECRET_BYTES:
            return False
        if not hmac.compare_digest(self._buffer[:SECRET_BYTES], self._secret):
            raise ValueError("wrong secret")
        del self._buffer[:SECRET_BYTES]
        self._cancel_deadline()
        self._has_secret = True
        return True

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


class OpenedConnection(Connection):
    """The connecting end, which sends the secret first."""

    kernel_notices: ClassVar[Mapping[str, int]] = UNSENT

    def authenticate(self, secret: bytes) -> None:
        """Send the secret; to be called once it is known who is there, before anything is written."""
        self._pieces.insert(0, secret)
        self._flush()
