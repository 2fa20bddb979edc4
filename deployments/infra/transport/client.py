"""The connecting side."""

import asyncio
import logging

from deployments.infra.transport import tls
from deployments.infra.transport.connection import Connection, OpenedConnection, Receiver
from deployments.infra.transport.framing import MAX_FRAME_BYTES
from deployments.infra.transport.server import Address

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0


async def connect(address: Address, receiver: Receiver, max_frame_bytes: int = MAX_FRAME_BYTES) -> Connection:
    """Return a new connection; `receiver` is told what comes by it.

    Raises ConnectionError if nobody, or another process than the expected one, is there within five seconds.
    """
    context = tls.client_context() if address.fingerprint else None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: OpenedConnection(receiver, max_frame_bytes), address.host, address.port, ssl=context
            )
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"a replica cannot be reached: {type(error).__name__}") from None
    if address.fingerprint:
        try:
            tls.check(transport.get_extra_info("ssl_object"), address.fingerprint)
        except tls.WrongCertificate:
            connection.abort()
            raise
    connection.authenticate(address.secret)
    return connection


class ConnectionPool:
    """One connection to each address, made when it is first needed, and again when it was lost meanwhile."""

    def __init__(self, receiver: Receiver) -> None:
        """`receiver` is told what comes by all of them."""
        self._receiver = receiver
        self._connections: dict[Address, asyncio.Task[Connection]] = {}

    async def get(self, address: Address) -> Connection:
        """Return the connection; raises ConnectionError as `connect` does."""
        task = self._connections.get(address)
        if task is None or _is_lost(task):
            self._connections = {known: task for known, task in self._connections.items() if not _is_lost(task)}
            task = self._connections[address] = asyncio.create_task(connect(address, self._receiver), name="connect")
        try:
            return await asyncio.shield(task)
        except ConnectionError as error:
            logger.warning("%s", error)
            raise ConnectionError(*error.args) from None

    def close(self) -> None:
        """Close all connections, after what has been written."""
        for task in self._connections.values():
            task.cancel()
            if task.done() and not _is_lost(task):
                task.result().close()
        self._connections.clear()


def _is_lost(task: "asyncio.Task[Connection]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None or task.result().is_lost)
