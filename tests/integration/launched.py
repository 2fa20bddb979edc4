"""A launcher in a process of its own, for tests that kill it: `launched.py FOLDER postgres|valkey [UID]`.

Prints the server's process id and address, waits for the end of its standard input, and stops the server.
"""

import logging
import os
import pwd  # noqa: F401 - before the change of user: the interpreter's files may be out of its reach
import sys
from pathlib import Path

from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import LauncherError, StateFolder

if __name__ == "__main__":
    logging.disable()
    folder, kind, *user = sys.argv[1:]
    if user:
        os.setgroups([])
        os.setgid(int(user[0]))
        os.setuid(int(user[0]))
    state = StateFolder.open(Path(folder))
    server = PostgresServer(state) if kind == "postgres" else ValkeyServer(state)
    try:
        sys.stdout.write(f"{server.start()} {server.pid}\n")
        sys.stdout.flush()
    except LauncherError as error:
        sys.exit(str(error))
    server.watch()
    sys.stdin.read()
    server.stop()
