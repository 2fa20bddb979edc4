"""`chatllm backup` and `chatllm restore`, as an operator runs them, on real Postgres servers."""

import asyncio
import subprocess
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from deployments.local import keys
from deployments.local.backup import DUMP, back_up
from deployments.local.cli import app
from deployments.local.servers.postgres import PostgresServer
from deployments.local.state import LauncherError, StateFolder
from tests.databases import execute


@contextmanager
def running(path: Path) -> Generator[str]:
    server = PostgresServer(StateFolder.open(path))
    try:
        yield server.start()
    finally:
        server.stop()


def chatllm(state: Path, *words: str, **environment: str) -> str:
    result = CliRunner().invoke(app, words, env={"CHATLLM_STATE": str(state), "DATABASE_URL": None, **environment})
    if isinstance(result.exception, LauncherError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


async def rows(url: str) -> dict[str, list[Any]]:
    """Return all that a database holds, by its tables."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = sorted(str(table[0]) for table in tables)
        return {
            name: sorted(str(row[0]) for row in await connection.fetch(f'SELECT "{name}"::text FROM "{name}"'))
            for name in names
        }
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a first key, another key, and two tables that are always written together."""
    state = tmp_path_factory.mktemp("state")
    with running(state) as url:
        keys.ensure_first(url, state)
        keys.run(url, lambda store: store.create("robot", {}))
        asyncio.run(execute(url, "CREATE TABLE one (n integer); CREATE TABLE two (n integer, filling text)"))
    return state


@pytest.fixture(scope="module")
def file(installation: Path) -> Path:
    """A backup of it."""
    target = installation.parent / "one.backup"
    chatllm(installation, "backup", str(target))
    return target


def test_a_backup_round_trips_into_an_empty_folder(installation: Path, file: Path, tmp_path: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert "Restored" in chatllm(tmp_path / "new", "restore", str(file))
    assert (tmp_path / "new" / keys.FILE).read_text() == (installation / keys.FILE).read_text()
    with running(installation) as before, running(tmp_path / "new") as after:
        held = asyncio.run(rows(before))
        assert held["api_keys"] and held["migrations"] and asyncio.run(rows(after)) == held
        assert keys.ensure_first(after, tmp_path / "new") == (installation / keys.FILE).read_text().strip()
        assert asyncio.run(rows(after)) == held, "the restored key is valid, and no other one is made"


def test_a_backup_is_consistent_while_it_is_written(installation: Path, tmp_path: Path) -> None:
    async def write(url: str, has_begun: asyncio.Event, until: asyncio.Event) -> int:
        connection, count = await asyncpg.connect(url), 0
        await connection.execute("INSERT INTO two SELECT 0, repeat(md5(n::text), 20) FROM generate_series(1, 50000) n")
        while not until.is_set():
            async with connection.transaction():
                await connection.execute("INSERT INTO one VALUES (1)")
                await connection.execute("INSERT INTO two VALUES (1)")
            count += 1
            has_begun.set()
        await connection.close()
        return count

    async def backed_up_under_load(url: str) -> int:
        has_begun, ended = asyncio.Event(), asyncio.Event()
        writing = asyncio.create_task(write(url, has_begun, ended))
        await has_begun.wait()
        await asyncio.to_thread(back_up, url, installation / keys.FILE, tmp_path / "b")
        ended.set()
        return await writing

    with running(installation) as url:
        written = asyncio.run(backed_up_under_load(url))
    chatllm(tmp_path / "new", "restore", str(tmp_path / "b"))
    with running(tmp_path / "new") as url:
        held = asyncio.run(rows(url))
    assert 0 < len(held["one"]) == sum(row.startswith("(1,") for row in held["two"]) < written


def test_what_is_there_is_replaced_only_if_asked_and_only_by_a_whole_backup(file: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as url:
        secret = keys.ensure_first(url, state)
        before = asyncio.run(rows(url))
        with pytest.raises(LauncherError, match="the service is running: make stop first"):
            chatllm(state, "restore", str(file), "--replace")
    with pytest.raises(LauncherError, match=r"is not empty: .*--replace"):
        chatllm(state, "restore", str(file))
    cut = tmp_path / "cut"
    with tarfile.open(file) as archive:
        content = archive.extractfile(DUMP)
        assert content is not None
        dump = content.read()
    cut.write_bytes(dump[: len(dump) - 3_000])
    with pytest.raises(LauncherError, match="cannot be restored"):
        chatllm(state, "restore", str(cut), "--replace")
    with running(state) as url:
        assert asyncio.run(rows(url)) == before and keys.ensure_first(url, state) == secret
    chatllm(state, "restore", str(file), "--replace")
    with running(state) as url:
        assert asyncio.run(rows(url)).keys() - before.keys() == {"one", "two"}
        assert keys.ensure_first(url, state) != secret


def test_a_dump_of_ones_own_is_restored_into_a_database_of_ones_own(
    installation: Path, file: Path, tmp_path: Path, database_url: str
) -> None:
    own = tmp_path / "own.dump"
    with tarfile.open(file) as archive:
        content = archive.extractfile(DUMP)
        assert content is not None
        own.write_bytes(content.read())
    state = tmp_path / "state"
    told = chatllm(state, "restore", str(own), DATABASE_URL=database_url)
    assert "which has no first key" in " ".join(told.split())
    assert asyncio.run(rows(database_url))["api_keys"]
    with pytest.raises(LauncherError, match="the database is not empty"):
        chatllm(state, "restore", str(own), DATABASE_URL=database_url)
    assert "Backed up" in chatllm(state, "backup", str(tmp_path / "again"), DATABASE_URL=database_url)


def test_what_is_no_backup_of_this_version_changes_nothing(file: Path, tmp_path: Path, database_url: str) -> None:
    state = tmp_path / "state"
    for name, content, why in [
        ("missing", None, "cannot read"),
        ("empty", b"", "not a whole backup"),
        ("text", b"hello" * 1_000, "not a whole backup"),
        ("cut", file.read_bytes()[:5_000], "not a whole backup|cannot be restored"),
        ("fake", b"PGDMP" + bytes(100), "cannot be restored"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(LauncherError, match=why):
            chatllm(state, "restore", str(tmp_path / name))
    other = tmp_path / "other"
    back_up(database_url, tmp_path / "none", other)
    with pytest.raises(LauncherError, match="a dump of another database"):
        chatllm(state, "restore", str(other))
    asyncio.run(execute(database_url, "CREATE TABLE migrations (number integer, name text)"))
    asyncio.run(execute(database_url, "INSERT INTO migrations VALUES (9999, 'of the future')"))
    back_up(database_url, tmp_path / "none", other)
    with pytest.raises(LauncherError, match="is of a later version, with migration 9999"):
        chatllm(state, "restore", str(other))
    assert not (state / "postgres").exists()


def test_a_backup_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LauncherError, match=r"cannot write .*: No such file"):
        back_up(database_url, tmp_path / "key", tmp_path / "no folder" / "file")
    failing = tmp_path / "programs"
    failing.mkdir()
    (failing / "pg_dump").write_text(
        "#!/bin/sh\nhead -c 100000 /dev/zero\necho 'No space left on device' >&2\nexit 1\n"
    )
    (failing / "pg_dump").chmod(0o755)
    monkeypatch.setattr("deployments.local.backup.programs_folder", lambda: failing)
    (tmp_path / "target").write_text("the one before")
    with pytest.raises(LauncherError, match="pg_dump failed: No space left on device"):
        back_up(database_url, tmp_path / "key", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "the one before"
    assert {path.name for path in tmp_path.iterdir()} == {"programs", "target"}


def test_a_password_is_not_among_the_arguments(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], str]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], *, env: dict[str, str], **options: Any) -> None:
            seen.append((command, env["PGPASSWORD"]))
            super().__init__(["false"], **options)

    monkeypatch.setattr("deployments.local.backup.require_postgres", print)
    monkeypatch.setattr("deployments.local.backup.subprocess.Popen", Popen)
    for url in ("postgresql://u:p%40ss@h:1/db?sslmode=require", "postgresql://u@h/db?password=p%40ss"):
        with pytest.raises(LauncherError):
            back_up(url, tmp_path / "key", tmp_path / "target")
    assert [password for _, password in seen] == ["p@ss", "p@ss"]
    assert not any("p%40ss" in word or "p@ss" in word for command, _ in seen for word in command)
    with pytest.raises(LauncherError):
        back_up("postgresql://u:one@tail@h:1/db", tmp_path / "key", tmp_path / "target")
    assert seen[-1] == ([*seen[-1][0][:-1], "--dbname=postgresql://u@h:1/db"], "one@tail")
    assert seen[0][0][-1] == "--dbname=postgresql://u@h:1/db?sslmode=require"
