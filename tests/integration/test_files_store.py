"""The promises of the store of files, kept by the real one and by the one in memory alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.errors import NotFound
from deployments.files import postgres
from deployments.files.contents import Contents
from deployments.files.memory import MemoryFiles
from deployments.files.postgres import PostgresFiles
from deployments.files.store import FileStore
from deployments.files.types import CHUNK_BYTES, FilesUsed, StoredFile
from deployments.files.writing import FileWriter, content_of

ANN, BOB = "ann", "bob"


@pytest.fixture(params=["memory", "postgres", "folder", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "memory":
        return MemoryFiles()
    urls = {"folder": f"file://{tmp_path}", "objects": f"memory://bucket{tmp_path}"}
    url = urls.get(request.param)
    return PostgresFiles(request.getfixturevalue("database"), Contents.at(url) if url else None)


def at(seconds: float) -> datetime:
    """Return the time so many seconds from now: when the module was imported may be many minutes ago."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def file(name: str = "a", seconds: float = 0, **more: object) -> StoredFile:
    given = {"tenant": ANN, "filename": name, "purpose": "batch", "created_at": at(seconds)}
    return StoredFile(**{**given, **more})  # type: ignore[arg-type]


async def kept(store: FileStore, new: StoredFile, content: bytes = b"x") -> StoredFile:
    writer = FileWriter(store, new)
    await writer.begin()
    await writer.write(content)
    await writer.flush()
    return await store.finish(new)


async def content(store: FileStore, id_: str, tenant: str = ANN) -> bytes:
    return b"".join([data async for data in content_of(store, tenant, id_)])


async def test_a_file_of_many_pieces_comes_back_whole(store: FileStore) -> None:
    new = file("ünï.jsonl")
    pieces = [bytes([at % 251]) * 300_000 for at in range(9)] + [b"end"]
    writer = FileWriter(store, new)
    await writer.begin()
    for piece in pieces:
        await writer.write(piece)
    await writer.flush()
    with pytest.raises(NotFound):
        await store.file(ANN, new.id)
    with pytest.raises(NotFound):
        await store.chunk(ANN, new.id, 0)

    stored = await store.finish(new)

    assert stored == replace(new, bytes=2_700_003) == await store.file(ANN, new.id)
    assert await content(store, new.id) == b"".join(pieces)
    assert len(await store.chunk(ANN, new.id, 0) or b"") == CHUNK_BYTES
    assert await store.chunk(ANN, new.id, 3) is None
    with pytest.raises(NotFound):
        await store.append(ANN, new.id, 3, b"more")


async def test_a_file_is_of_one_tenant(store: FileStore) -> None:
    stored = await kept(store, file())
    for call in (
        store.file(BOB, stored.id),
        store.chunk(BOB, stored.id, 0),
        store.delete(BOB, stored.id),
        store.append(BOB, stored.id, 1, b"x"),
        store.finish(replace(stored, tenant=BOB)),
        store.files(BOB, stored.id, 1, "asc", None),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await store.files(BOB, None, 10, "desc", None)).data == []
    assert await store.file(ANN, stored.id) == stored


async def test_the_list_is_paged_in_both_orders_and_by_purpose(store: FileStore) -> None:
    files = [await kept(store, file(name, at)) for at, name in enumerate("abc")]
    output = await kept(store, file("out", 3, purpose="batch_output"))
    await store.begin(file("unfinished", 4))

    first = await store.files(ANN, None, 2, "desc", None)
    assert ([f.filename for f in first.data], first.has_more, first.last_id) == (["out", "c"], True, files[2].id)
    rest = await store.files(ANN, files[2].id, 2, "desc", None)
    assert ([f.filename for f in rest.data], rest.has_more) == (["b", "a"], False)
    assert [f.filename for f in (await store.files(ANN, files[0].id, 9, "asc", "batch")).data] == ["b", "c"]
    assert (await store.files(ANN, None, 9, "asc", "batch_output")).data == [output]
    with pytest.raises(NotFound):
        await store.files(ANN, "file-none", 9, "asc", None)


async def test_a_deleted_file_is_gone_and_takes_nothing(store: FileStore) -> None:
    stored, other = await kept(store, file(), b"123"), await kept(store, file("b"), b"45")
    assert await store.used(ANN) == FilesUsed(5, 2)
    await store.delete(ANN, stored.id)
    with pytest.raises(NotFound):
        await store.delete(ANN, stored.id)
    with pytest.raises(NotFound):
        await store.chunk(ANN, stored.id, 0)
    assert await store.used(ANN) == FilesUsed(2, 1)
    assert await content(store, other.id) == b"45"


async def test_each_chunk_tells_what_all_files_take(store: FileStore) -> None:
    await kept(store, file(), b"123")
    await store.begin(new := file("b"))
    assert await store.append(ANN, new.id, 0, b"4567") == FilesUsed(7, 2)
    assert await store.append(ANN, new.id, 1, b"8") == FilesUsed(8, 2)


async def test_what_has_expired_is_not_seen_and_then_swept(store: FileStore) -> None:
    gone = await kept(store, file(expires_at=at(-1)))
    there = await kept(store, file("b", expires_at=at(3600)))
    with pytest.raises(NotFound):
        await store.file(ANN, gone.id)
    assert [f.id for f in (await store.files(ANN, None, 9, "asc", None)).data] == [there.id]
    assert (await store.used(ANN)).files == 2

    await store.sweep(3600)

    assert await store.used(ANN) == FilesUsed(1, 1)


async def test_an_upload_that_broke_off_is_swept_and_one_under_way_is_not(store: FileStore) -> None:
    old, new = file("old", -4000), file("new")
    await store.begin(old)
    await store.begin(new)
    await store.append(ANN, old.id, 0, b"123")
    await store.sweep(3600)
    assert await store.used(ANN) == FilesUsed(0, 1)
    await store.append(ANN, new.id, 0, b"x")
    assert (await store.finish(new)).bytes == 1


async def test_only_what_nobody_sees_is_discarded(store: FileStore) -> None:
    seen, unfinished = await kept(store, file()), file()
    await store.begin(unfinished)
    for tenant, id_ in ((ANN, seen.id), (BOB, unfinished.id), (ANN, "file-none")):
        await store.discard(tenant, id_)
    assert (await store.used(ANN)).files == 2
    await store.discard(ANN, unfinished.id)
    assert (await store.used(ANN)).files == 1
    assert await content(store, seen.id) == b"x"


async def test_all_that_has_expired_is_swept_a_few_bytes_at_a_time(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SWEPT_BYTES", 5)
    for size in (9, 2, 2, 2, 4):
        await kept(store, file(expires_at=at(-1)), b"x" * size)
    left = await kept(store, file())
    await store.sweep(60)
    assert await store.used(ANN) == FilesUsed(1, 1)
    assert await content(store, left.id) == b"x"
