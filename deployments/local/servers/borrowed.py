"""A store of this installation for a command of a moment: the running one, or one started for as long as it takes."""

from collections.abc import Generator
from contextlib import contextmanager

from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import Locked


@contextmanager
def lent(server: PostgresServer | ValkeyServer) -> Generator[str]:
    """Lend the server's address, and end it again if it was started here."""
    try:
        server.start()
    except Locked:  # it runs, and its socket is where ours would be
        yield server.url
        return
    try:
        yield server.url
    finally:
        server.stop()
