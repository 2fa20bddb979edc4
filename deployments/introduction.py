"""The accepting end of a connection between two replicas, before and after it is known who is there.

Whoever connects sends the secret of the process that listens, 32 bytes, which it can only
have through a Serve handle. Without it nothing is read, and after five seconds the connection is closed.
"""

import asyncio
import hmac
import logging
import socket
from typing import cast

logger = logging.getLogger(__name__)

SECRET_BYTES = 32
INTRODUCTION_TIMEOUT_S = 5.0


class Introduced(asyncio.Protocol):
    """One connection; closed for a wrong or late secret, and for what `received` says is no message."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._buffer = bytearray()
        self._is_known = False
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def received(self, buffer: bytearray) -> None:
        """Take the whole messages off the front of `buffer`; raises ValueError for what is none."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        # A node that vanishes says nothing: the kernel asks after it, else its connection would stay for ever.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._deadline = asyncio.get_running_loop().call_later(INTRODUCTION_TIMEOUT_S, self.close)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            if self._is_known or self._is_introduced():
                self.received(self._buffer)
        except ValueError:  # msgspec's DecodeError is one
            logger.warning("a connection was closed: what it sent is no message of a replica")
            self.close()

    def _is_introduced(self) -> bool:
        if len(self._buffer) < SECRET_BYTES:
            return False
        if not hmac.compare_digest(self._buffer[:SECRET_BYTES], self._secret):
            raise ValueError("wrong secret")
        del self._buffer[:SECRET_BYTES]
        if self._deadline is not None:
            self._deadline.cancel()
        self._is_known = True
        return True

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
