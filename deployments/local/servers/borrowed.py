"""A store of this installation for a command of a moment: the running one, or one started for as long as it takes."""

from collections.abc import Generator
from contextlib import contextmanager

from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import Locked


@contextmanager
def borrowed_server(server: PostgresServer | ValkeyServer) -> Generator[str]:
    """Yield the address of the running server, or start it and stop it again."""
    try:
        server.start()
    except Locked:  # it runs, and its socket is where ours would be
        yield server.url
        return
    try:
        yield server.url
    finally:
        server.stop()
