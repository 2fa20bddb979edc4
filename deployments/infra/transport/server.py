"""The accepting side: one server of a process, and the address by which others reach it."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.infra.transport.connection import SECRET_BYTES, AcceptedConnection, Receiver
from deployments.infra.transport.framing import MAX_FRAME_BYTES
from deployments.infra.transport.tls import Identity, is_loopback


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process accepts connections, and the secret that clients must present."""

    host: str
    port: int
    secret: bytes = field(repr=False)
    fingerprint: bytes = b""
    """The SHA-256 of the server's certificate; empty where connections are not encrypted."""


class Server:
    """Accepts connections from anyone who knows its address."""

    def __init__(self, accept: Callable[[], Receiver], max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """`accept` returns who is told of a new connection."""
        self._accept = accept
        self._max_frame_bytes = max_frame_bytes
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._server: asyncio.Server | None = None
        self._connections: set[AcceptedConnection] = set()

    async def open(self, host: str, is_encrypted: bool | None = None) -> Address:
        """Listen on a free port of `host`; `is_encrypted` None: unless only this machine can connect there."""
        identity = Identity.new() if is_encrypted or (is_encrypted is None and not is_loopback(host)) else None
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, host, 0, ssl=identity.context if identity else None
        )
        port = self._server.sockets[0].getsockname()[1]
        return Address(host, port, self._secret, identity.fingerprint if identity else b"")

    async def aclose(self) -> None:
        """Stop listening, and close the connections at once."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def _connection(self) -> AcceptedConnection:
        return AcceptedConnection(self._accept(), self._secret, self._max_frame_bytes, self._connections)
