"""Which ports are free, who holds those that are not, and a block for what Ray opens inside."""

import random
import socket
from pathlib import Path

import psutil

from deployments.local.state import LauncherError

# Below the range from which the kernel hands out ports by itself, above the well-known services.
INNER_PORTS = range(20_000, 32_000)
ATTEMPTS = 50


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # Connections of a server that has just ended linger in TIME_WAIT and are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free(ports: dict[str, int], host: str = "127.0.0.1") -> None:
    """Raise LauncherError that names the first port in use, who holds it and the option that changes it."""
    for option, port in ports.items():
        if not is_free(port, host):
            raise LauncherError(
                f"port {port} is in use{_holder(port)}: stop that program, or choose another --{option}"
            )


def free_block(size: int) -> int:
    """Return the first of `size` neighbouring ports that are free on every interface."""
    for _ in range(ATTEMPTS):
        first = random.randrange(INNER_PORTS.start, INNER_PORTS.stop - size)  # noqa: S311 - not a secret
        if all(is_free(port, "") for port in range(first, first + size)):
            return first
    raise LauncherError(
        f"no {size} neighbouring ports are free between {INNER_PORTS.start} and {INNER_PORTS.stop}: "
        "stop some of the servers that run on this machine"
    )


def _holder(port: int) -> str:
    """Return ' by NAME (process N)', or nothing where the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and getattr(connection.laddr, "port", None) == port
            and connection.pid
        ):
            return f" by {_name(connection.pid)} (process {connection.pid})"
    return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "a program"
