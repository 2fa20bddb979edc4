"""A store of this installation for a command of a moment: the running one, or one started for as long as it takes."""

from collections.abc import Generator
from contextlib import contextmanager

from deployments.local.postgres import PostgresServer
from deployments.local.state import Locked
from deployments.local.valkey import ValkeyServer


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
