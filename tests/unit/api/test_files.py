"""Files through OpenAI's own client."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import httpx
import openai
import pytest

from deployments.config import FileSettings, ScriptedModel
from deployments.errors import DiskFull, HistoryUnavailable
from tests.unit.api.conftest import Service, running

QUICK = ScriptedModel(id="quick", kind="scripted", tokens=8)
LINES = b'{"custom_id": "1"}\n'


def sdk(service: Service, key: str | None = None) -> openai.AsyncOpenAI:
    secret = key or service.http.headers["authorization"].removeprefix("Bearer ")
    return openai.AsyncOpenAI(
        base_url=f"{service.url}/v1", api_key=secret, max_retries=0, _strict_response_validation=True
    )


@pytest.fixture
async def api(service: Service) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with sdk(service) as client:
        yield client


async def test_a_file_goes_its_whole_way(api: openai.AsyncOpenAI) -> None:
    content = LINES * 100_000
    made = await api.files.create(file=("../in/requests.jsonl", content), purpose="batch")

    assert (made.object, made.bytes, made.purpose, made.status) == ("file", len(content), "batch", "processed")
    assert made.filename == "requests.jsonl"
    assert made.id.startswith("file-")
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == 30 * 86_400
    assert await api.files.retrieve(made.id) == made
    assert [found async for found in api.files.list()] == [made]
    assert (await api.files.content(made.id)).content == content

    deleted = await api.files.delete(made.id)

    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "file")
    for call in (api.files.retrieve(made.id), api.files.content(made.id), api.files.delete(made.id)):
        with pytest.raises(openai.NotFoundError):
            await call


async def test_the_list_is_paged(api: openai.AsyncOpenAI) -> None:
    made = [(await api.files.create(file=(f"{at}.jsonl", LINES), purpose="batch")).id for at in range(5)]
    assert [file.id async for file in api.files.list(limit=2, order="asc")] == made
    assert [file.id async for file in api.files.list(limit=2)] == made[::-1]
    page = await api.files.list(after=made[1], limit=2, order="asc", purpose="batch")
    assert ([file.id for file in page.data], page.has_more) == (made[2:4], True)
    assert (await api.files.list(purpose="batch_output")).data == []
    with pytest.raises(openai.NotFoundError):
        await api.files.list(after="file-none")


async def test_it_expires_when_the_client_says(api: openai.AsyncOpenAI) -> None:
    made = await api.files.create(
        file=("a", LINES), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    with pytest.raises(openai.BadRequestError, match="expires_after"):
        await api.files.create(
            file=("a", LINES), purpose="batch", expires_after={"anchor": "created_at", "seconds": 60}
        )


async def test_another_key_finds_nothing(service: Service, api: openai.AsyncOpenAI) -> None:
    made = await api.files.create(file=("a", LINES), purpose="batch")
    _, secret = await service.keys.create("other")
    async with sdk(service, secret) as other:
        assert (await other.files.list()).data == []
        for call in (other.files.retrieve(made.id), other.files.content(made.id), other.files.delete(made.id)):
            with pytest.raises(openai.NotFoundError):
                await call
    assert (await api.files.content(made.id)).content == LINES


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("a", LINES)}}, 400, "purpose"),
        ({"files": {"file": ("a", LINES)}}, 400, "purpose"),
        ({"data": {"purpose": "batch"}, "files": {"other": ("a", LINES)}}, 400, "'file'"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("a", b"")}}, 400, "empty"),
        ({"data": {"purpose": "batch", "more": "1"}, "files": {"file": ("a", LINES)}}, 400, "more"),
        ({"json": {"purpose": "batch"}}, 415, "multipart/form-data"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("a", b"x" * 2000)}}, 413, "larger"),
    ],
)
async def test_what_is_refused_leaves_nothing(form: dict[str, Any], status: int, said: str) -> None:
    async with running(QUICK, files=FileSettings(max_bytes=1024)) as service:
        answer = await service.http.post("/v1/files", **form)
        assert answer.status_code == status
        assert said in answer.json()["error"]["message"]
        tenant = (await service.keys.list())[0].tenant
        assert (await service.files.used(tenant)).files == 0


async def test_an_upload_that_breaks_off_leaves_nothing(service: Service) -> None:
    async def cut() -> AsyncGenerator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + LINES
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        headers = {"content-type": "multipart/form-data; boundary=b"}
        await service.http.post("/v1/files", content=cut(), headers=headers)
    tenant = (await service.keys.list())[0].tenant
    while (await service.files.used(tenant)).files:
        await service.http.get("/health")


async def test_a_key_keeps_no_more_than_it_may() -> None:
    settings = FileSettings(max_bytes=3_000_000, max_bytes_per_key=3_000_000, max_files_per_key=2)
    async with running(QUICK, files=settings) as service, sdk(service) as api:
        await api.files.create(file=("a", b"x" * 2_000_000), purpose="batch")
        with pytest.raises(openai.PermissionDeniedError, match="3,000,000 bytes"):
            await api.files.create(file=("b", b"x" * 2_000_000), purpose="batch")
        second = await api.files.create(file=("c", LINES), purpose="batch")
        with pytest.raises(openai.PermissionDeniedError, match="2 files"):
            await api.files.create(file=("d", LINES), purpose="batch")
        await api.files.delete(second.id)
        assert len((await api.files.list()).data) == 1
        await api.files.create(file=("e", LINES), purpose="batch")


@pytest.mark.parametrize(("own", "fits"), [(2_000, False), (8_000, True)])
async def test_a_key_s_own_bound_of_files_stands_in_place_of_the_configuration_s(own: int, fits: bool) -> None:
    settings = FileSettings(max_bytes=8_000, max_bytes_per_key=4_000)
    async with running(QUICK, files=settings) as service:
        _, secret = await service.keys.create("other", {"file_bytes": own})
        async with sdk(service, secret) as api:
            if fits:
                await api.files.create(file=("a", b"x" * 6_000), purpose="batch")
            with pytest.raises(openai.PermissionDeniedError, match=f"{own:,} bytes"):
                await api.files.create(file=("b", b"x" * 3_000), purpose="batch")
            assert len((await api.files.list()).data) == fits


async def test_files_count_among_what_a_key_may_store(service: Service) -> None:
    key, secret = await service.keys.create("small", {"storage_bytes": 5_000})
    async with sdk(service, secret) as api:
        await api.files.create(file=("a", b"x" * 4_000), purpose="batch")
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await api.files.create(file=("b", b"x" * 4_000), purpose="batch")
        assert refused.value.code == "storage_full"
    assert (await service.files.used(key.tenant)).bytes == 4_000
    me = await service.http.get("/v1/me", headers={"authorization": f"Bearer {secret}"})
    assert me.json()["stored_bytes"] == 4_000


async def test_a_full_disk_is_a_507_and_the_file_is_not_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise DiskFull

    with monkeypatch.context() as now:
        now.setattr(service.files, "append", full)
        answer = await service.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINES)})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (507, "false")
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("disk_full", "server_error", None)
    assert "no room left" in error["message"]
    assert (await service.http.get("/v1/files")).json()["data"] == []
    assert (await service.files.used((await service.keys.list())[0].tenant)).files == 0


async def test_while_the_store_is_away_it_is_a_503(service: Service) -> None:
    service.files.is_away = True
    answers = [
        await service.http.get("/v1/files"),
        await service.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINES)}),
    ]
    assert [answer.json()["error"]["code"] for answer in answers] == [HistoryUnavailable.code] * 2


async def test_times_are_whole_seconds_and_content_is_bytes(service: Service) -> None:
    answer = await service.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINES)})
    made = answer.json()
    assert abs(made["created_at"] - datetime.now().timestamp()) < 60
    read: httpx.Response = await service.http.get(f"/v1/files/{made['id']}/content")
    assert (read.headers["content-type"], read.headers["content-length"]) == ("application/octet-stream", "19")
