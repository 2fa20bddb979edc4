"""The connecting side."""

import asyncio

from deployments.infra.transport import tls
from deployments.infra.transport.connection import Connection, OpenedConnection, Receiver
from deployments.infra.transport.framing import MAX_FRAME_BYTES
from deployments.infra.transport.server import Address

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

    def __init__(self, receiver: Receiver, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """`receiver` gets the frames of all connections."""
        self._receiver = receiver
        self._max_frame_bytes = max_frame_bytes
        self._connections: dict[Address, asyncio.Task[Connection]] = {}

    async def get(self, address: Address) -> Connection:
        """Return the connection; raises ConnectionError as `connect` does.

        Callers that ask at the same time wait for the same attempt, which goes on when one of them is cancelled.
        """
        task = self._connections.get(address)
        if task is None or _is_lost(task):
            self._connections = {known: task for known, task in self._connections.items() if not _is_lost(task)}
            attempt = connect(address, self._receiver, self._max_frame_bytes)
            task = self._connections[address] = asyncio.create_task(attempt, name="connect")
        try:
            return await asyncio.shield(task)
        except ConnectionError as error:
            raise ConnectionError(*error.args) from None

    def discard(self, address: Address) -> None:
        """Close the connection to an address at once, or give up the attempt; the next `get` makes a new one."""
        task = self._connections.pop(address, None)
        if task is not None:
            task.cancel()
            if task.done() and not _is_lost(task):
                task.result().abort()

    def close(self) -> None:
        """Close all connections, after what has been written."""
        for task in self._connections.values():
            task.cancel()
            if task.done() and not _is_lost(task):
                task.result().close()
        self._connections.clear()


def _is_lost(task: "asyncio.Task[Connection]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None or task.result().is_lost)
