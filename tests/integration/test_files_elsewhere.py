"""Contents of files beside Postgres: in a folder, private, whole or not at all, and removed with their files."""

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.errors import DiskFull, HistoryUnavailable, NotFound
from deployments.files import contents, folder, postgres
from deployments.files.contents import Contents
from deployments.files.folder import Folder
from deployments.files.postgres import PostgresFiles
from deployments.files.types import StoredFile
from deployments.files.writing import FileWriter, content_of
from deployments.infra.postgres.database import Database

ANN = "ann"
MIB = 1_048_576


def there(root: Path) -> list[Path]:
    """Return all that is not a folder."""
    return sorted(path for path in root.rglob("*") if not path.is_dir())


def modes(root: Path) -> set[tuple[str, int]]:
    return {("folder" if path.is_dir() else "file", path.stat().st_mode & 0o777) for path in root.rglob("*")}


@contextmanager
def unmounted(root: Path) -> Iterator[None]:
    """Have something else than a folder in its place."""
    root.rename(away := root.with_name("away"))
    root.touch()
    try:
        yield
    finally:
        root.unlink()
        away.rename(root)


def new() -> StoredFile:
    return StoredFile(ANN, "../../etc/passwd", "batch")


async def kept(store: PostgresFiles, content: bytes) -> StoredFile:
    writer = FileWriter(store, new())
    await writer.begin()
    await writer.write(content)
    await writer.flush()
    return await store.finish(writer.file)


async def read(store: PostgresFiles, file: StoredFile) -> bytes:
    return b"".join([data async for data in content_of(store, ANN, file.id)])


@pytest.fixture
def store(database: Database, tmp_path: Path) -> PostgresFiles:
    return PostgresFiles(database, Contents(Folder(tmp_path)))


async def test_contents_are_private_and_their_names_are_this_service_s_own(
    store: PostgresFiles, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        file = await kept(store, b"x" * (MIB + 5))
    finally:
        os.umask(before)

    assert [path.name for path in there(tmp_path)] == ["0", "1"]
    assert modes(tmp_path) == {("folder", 0o700), ("file", 0o600)}
    assert not [path for path in there(tmp_path) if file.id in str(path) or "passwd" in str(path)]
    assert await read(store, file) == b"x" * (MIB + 5)


async def test_what_is_deleted_is_removed_and_what_could_not_be_is_swept(
    database: Database, store: PostgresFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.delete(ANN, (await kept(store, b"one")).id)
    assert there(tmp_path) == []

    unfinished = FileWriter(store, replace(new(), created_at=new().created_at.replace(year=2020)))
    await unfinished.begin()
    await unfinished.write(b"y" * MIB)
    deleted = await kept(store, b"two")
    await PostgresFiles(database).delete(ANN, deleted.id)  # by a version that knows of no other place
    assert len(there(tmp_path)) == 2
    await store.sweep(3600)
    assert len(there(tmp_path)) == 2  # something may still be written
    monkeypatch.setattr(postgres, "SETTLED_S", 0)
    with unmounted(tmp_path), pytest.raises(HistoryUnavailable):
        await store.sweep(3600)
    await store.sweep(3600)
    assert there(tmp_path) == []
    assert await database.fetch("SELECT FROM file_removals") == []


async def test_what_cannot_be_removed_holds_up_nothing_else(
    database: Database, store: PostgresFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SETTLED_S", 0)
    monkeypatch.setattr(postgres, "MAX_FAILURES", 1)
    for content in (b"stuck", b"two", b"three"):
        await PostgresFiles(database).delete(ANN, (await kept(store, content)).id)
    stuck = (await database.fetch("SELECT place FROM file_removals ORDER BY gone_at LIMIT 1"))[0]["place"]
    remove = Folder.remove

    def refusing(self: Folder, place: str) -> None:
        if place == stuck:
            raise PermissionError
        remove(self, place)

    monkeypatch.setattr(Folder, "remove", refusing)
    for _ in range(2):
        with pytest.raises(HistoryUnavailable):
            await store.sweep(3600)
    assert [row["place"] for row in await database.fetch("SELECT place FROM file_removals")] == [stuck]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mounted], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


async def test_a_full_disk_is_said_and_nothing_half_is_left(database: Database, small_disk: Path) -> None:
    store = PostgresFiles(database, Contents(Folder(small_disk)))
    whole = await kept(store, b"a" * MIB)
    writer = FileWriter(store, new())
    await writer.begin()
    with pytest.raises(DiskFull):
        await writer.write(b"b" * 4 * MIB)
    assert not [path for path in there(small_disk) if path.name.startswith(".")]

    await writer.discard()

    assert len(there(small_disk)) == 1
    assert await read(store, whole) == b"a" * MIB
    assert len(await read(store, await kept(store, b"c" * MIB))) == MIB


async def test_a_write_that_fails_halfway_leaves_nothing(
    store: PostgresFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) < 900:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return write(file, data[:200])

    monkeypatch.setattr(folder.os, "write", full)
    await store.begin(file := new())
    with pytest.raises(DiskFull):
        await store.append(ANN, file.id, 0, b"x" * 1000)
    assert there(tmp_path) == []
    assert (await store.used(ANN)).bytes == 0


async def test_a_folder_that_is_not_mounted_is_no_place_and_not_made(database: Database, tmp_path: Path) -> None:
    store = PostgresFiles(database, Contents(Folder(tmp_path / "share")))
    await store.begin(file := new())
    with pytest.raises(HistoryUnavailable):
        await store.append(ANN, file.id, 0, b"x")
    assert not (tmp_path / "share").exists()


async def test_a_store_that_hangs_is_given_up_and_holds_up_nothing(
    store: PostgresFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, release = await kept(store, b"x"), threading.Event()
    monkeypatch.setattr(contents, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(Folder, "read", lambda *_: release.wait(30))
    waiting = asyncio.create_task(store.chunk(ANN, file.id, 0))
    try:
        assert (await store.file(ANN, file.id)).bytes == 1
        assert await asyncio.to_thread(lambda: "free") == "free"
        with pytest.raises(HistoryUnavailable):
            await waiting
    finally:
        release.set()


async def test_a_file_that_is_deleted_while_it_is_written_leaves_nothing(
    store: PostgresFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), Folder.write

    def slow(self: Folder, place: str, number: int, data: bytes) -> None:
        begun.set()
        go_on.wait(30)
        write(self, place, number, data)

    monkeypatch.setattr(Folder, "write", slow)
    await store.begin(file := new())
    appending = asyncio.create_task(store.append(ANN, file.id, 0, b"x"))
    await asyncio.to_thread(begun.wait, 30)
    await store.delete(ANN, file.id)
    go_on.set()
    with pytest.raises(NotFound):
        await appending
    assert there(tmp_path) == []

    await store.begin(file := new())
    begun.clear(), go_on.clear()
    appending = asyncio.create_task(store.append(ANN, file.id, 0, b"x"))
    await asyncio.to_thread(begun.wait, 30)
    appending.cancel()  # the client has left; the thread goes on
    with suppress(asyncio.CancelledError):
        await appending
    await store.discard(ANN, file.id)
    go_on.set()
    async with asyncio.timeout(10):
        while not there(tmp_path):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(postgres, "SETTLED_S", 0)
    await store.sweep(3600)
    assert there(tmp_path) == []


async def test_files_in_postgres_stay_readable_when_new_ones_go_elsewhere(
    database: Database, store: PostgresFiles
) -> None:
    earlier = PostgresFiles(database)
    old, young = await kept(earlier, b"old"), await kept(store, b"young")
    assert await read(store, old) == b"old"
    with pytest.raises(HistoryUnavailable, match="no longer"):
        await read(earlier, young)
