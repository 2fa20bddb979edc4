"""Batches through OpenAI's own client, from the input file to the output."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from deployments.batches import types
from deployments.config import BatchSettings, KeyLimitSettings, ScriptedModel
from deployments.config.model_base import ModelCacheSettings
from deployments.models.scripted.replica import ScriptedReplica
from tests.unit.api.conftest import Service, running

CHAT = "/v1/chat/completions"
QUICK = ScriptedModel(id="quick", kind="scripted", tokens=8, embedding_dimensions=4, cache=ModelCacheSettings())
SLOW = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=50)


def sdk(service: Service, secret: str = "") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{service.url}/v1",
        api_key=secret or service.secret,
        max_retries=0,
        _strict_response_validation=True,
    )


def line(number: int, url: str = CHAT, **body: Any) -> dict[str, Any]:
    if not body and url == CHAT:
        body = {"messages": [{"role": "user", "content": f"say {number}"}]}
    return {"custom_id": f"id-{number}", "method": "POST", "url": url, "body": {"model": "quick", **body}}


def jsonl(lines: Sequence[Any]) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)


async def begun(api: openai.AsyncOpenAI, lines: Sequence[Any], endpoint: Any = CHAT, **more: Any) -> Batch:
    file = await api.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return await api.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


async def until(api: openai.AsyncOpenAI, batch: Batch, *statuses: str) -> Batch:
    while (found := await api.batches.retrieve(batch.id)).status not in statuses:
        assert found.status in types.OPEN, found
        await asyncio.sleep(0.02)
    return found


async def lines_of(api: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id
    return [json.loads(text) for text in (await api.files.content(file_id)).content.splitlines()]


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with running(QUICK, SLOW, batches=BatchSettings(max_in_flight=8)) as service:
        yield service


@pytest.fixture
async def api(service: Service) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with sdk(service) as client:
        yield client


async def test_a_batch_is_answered_line_by_line(service: Service, api: openai.AsyncOpenAI) -> None:
    bad = line(3, messages=[{"role": "user", "content": "x"}], temperature=9)
    batch = await begun(api, [line(1), line(2), bad], metadata={"topic": "rivers"})
    assert (batch.status, batch.endpoint, batch.completion_window) == ("validating", CHAT, "24h")
    assert batch.expires_at == batch.created_at + 86_400

    ended = await until(api, batch, "completed")

    assert ended.request_counts is not None
    assert ended.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    assert (ended.model, ended.metadata, ended.errors) == ("quick", {"topic": "rivers"}, None)
    assert ended.in_progress_at and ended.finalizing_at and ended.completed_at
    outputs = await lines_of(api, ended.output_file_id)
    assert [out["custom_id"] for out in outputs] == ["id-1", "id-2"]
    answer = outputs[1]["response"]
    assert (answer["status_code"], outputs[1]["error"]) == (200, None)
    assert answer["body"]["choices"][0]["message"]["content"].startswith("say 2")
    assert answer["request_id"].startswith("req_")
    (failed,) = await lines_of(api, ended.error_file_id)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("id-3", 400)
    assert failed["response"]["body"]["error"]["param"] == "temperature"
    assert failed["response"]["body"]["error"]["request_id"] == failed["response"]["request_id"]
    usage = [out["response"]["body"]["usage"] for out in outputs]
    assert ended.usage is not None
    assert ended.usage.output_tokens == sum(each["completion_tokens"] for each in usage) == 16
    assert ended.usage.input_tokens == sum(each["prompt_tokens"] for each in usage)
    output = await api.files.retrieve(str(ended.output_file_id))
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")


@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        ("/v1/completions", {"prompt": "once"}, "choices"),
        ("/v1/embeddings", {"input": "a river"}, "data"),
        ("/v1/responses", {"input": "hello"}, "output"),
    ],
)
async def test_each_endpoint_answers(api: openai.AsyncOpenAI, endpoint: str, body: dict[str, Any], field: str) -> None:
    ended = await until(api, await begun(api, [line(1, endpoint, **body)], endpoint), "completed")
    (output,) = await lines_of(api, ended.output_file_id)
    assert output["response"]["body"][field]
    assert ended.error_file_id is None


async def test_a_line_asks_for_no_more_at_once_than_its_key_may() -> None:
    url = "/v1/completions"
    lines = [line(number, url, prompt=["once"] * (4 + number), max_tokens=1) for number in (0, 1)]
    async with running(QUICK, key_limits=KeyLimitSettings(concurrent_requests=4)) as service, sdk(service) as api:
        ended = await until(api, await begun(api, lines, url), "completed")
        assert [out["custom_id"] for out in await lines_of(api, ended.output_file_id)] == ["id-0"]
        (failed,) = await lines_of(api, ended.error_file_id)
    assert failed["custom_id"] == "id-1"
    assert "answers at once" in failed["response"]["body"]["error"]["message"]


async def test_a_key_s_own_bounds_stand_in_place_of_the_configuration_s() -> None:
    settings = BatchSettings(max_lines=2, max_open_per_key=1, max_in_flight=0)
    async with running(QUICK, batches=settings) as service:
        _, secret = await service.keys.create("large", {"open_batches": 2, "batch_lines": 3})
        async with sdk(service) as small, sdk(service, secret) as large:
            failed = await until(small, await begun(small, [line(at) for at in range(3)]), "failed")
            assert failed.errors and (failed.errors.data or [])[0].message == "The file has more than 2 requests."
            await begun(small, [line(1)])
            with pytest.raises(openai.RateLimitError, match="1 batches"):
                await begun(small, [line(1)])
            failed = await until(large, await begun(large, [line(at) for at in range(4)]), "failed")
            assert failed.errors and (failed.errors.data or [])[0].message == "The file has more than 3 requests."
            for _ in range(2):
                await until(large, await begun(large, [line(at) for at in range(3)]), "in_progress")
            with pytest.raises(openai.RateLimitError, match="2 batches"):
                await begun(large, [line(1)])


async def test_what_is_wrong_with_an_input_is_told_line_by_line(api: openai.AsyncOpenAI) -> None:
    batch = await begun(
        api,
        [
            line(1),
            b"{not json",
            b"",
            line(1),
            line(5, "/v1/embeddings"),
            line(6) | {"method": "GET"},
            line(7, stream=True),
            line(8, model="nobody"),
            {"method": "POST", "url": CHAT, "body": {}},
            line(10) | {"body": [1]},
            b"[1]",
        ],
    )

    failed = await until(api, batch, "failed")

    assert failed.errors is not None
    found = [(error.line, error.code, error.param) for error in failed.errors.data or []]
    assert found == [
        (2, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "invalid_url", "url"),
        (6, "invalid_method", "method"),
        (7, "invalid_request", "body.stream"),
        (8, "model_not_found", "body.model"),
        (9, "missing_required_parameter", "custom_id"),
        (10, "invalid_body", "body"),
        (11, "invalid_json_line", None),
    ]
    assert (failed.output_file_id, failed.error_file_id) == (None, None)
    assert failed.failed_at is not None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\n \n", "empty_file"),
        (jsonl([line(at) for at in range(5)]), "too_many_requests"),
        (jsonl([line(1, messages=[{"role": "user", "content": "x" * 2000}])]), "line_too_long"),
    ],
)
async def test_an_input_has_its_bounds(content: bytes, code: str) -> None:
    async with running(QUICK, batches=BatchSettings(max_lines=4, max_line_bytes=1024)) as service, sdk(service) as api:
        file = await api.files.create(file=("a", content), purpose="batch")
        batch = await api.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        failed = await until(api, batch, "failed")
        assert failed.errors is not None
        assert [error.code for error in failed.errors.data or []] == [code]


async def test_a_cancelled_batch_stops_and_keeps_what_there_is(service: Service, api: openai.AsyncOpenAI) -> None:
    slow = [line(at, model="slow", messages=[{"role": "user", "content": str(at)}]) for at in range(2, 20)]
    batch = await begun(api, [line(1), *slow])
    while not (await api.batches.retrieve(batch.id)).request_counts.completed:  # type: ignore[union-attr]
        await asyncio.sleep(0.02)

    assert (await api.batches.cancel(batch.id)).status == "cancelling"
    ended = await until(api, batch, "cancelled")

    replica = service.models.replicas["slow"]
    assert isinstance(replica, ScriptedReplica)
    while await replica.running():
        await asyncio.sleep(0.02)
    assert ended.cancelling_at and ended.cancelled_at
    assert [out["custom_id"] for out in await lines_of(api, ended.output_file_id)] == ["id-1"]
    unanswered = await lines_of(api, ended.error_file_id)
    assert [out["error"]["code"] for out in unanswered] == ["batch_cancelled"] * 18
    with pytest.raises(openai.ConflictError):
        await api.batches.cancel(batch.id)


async def test_a_batch_expires_with_what_it_has(service: Service, api: openai.AsyncOpenAI) -> None:
    file = await api.files.create(file=("in", jsonl([line(1), line(2)])), purpose="batch")
    tenant = (await service.keys.list())[0].tenant
    old = datetime.now(UTC) - timedelta(days=2)
    stored = types.Batch(tenant, tenant, CHAT, file.id, created_at=old)
    await service.batches.create(stored, 9)
    ended = await until(api, await api.batches.retrieve(stored.id), "expired")
    assert [out["error"]["code"] for out in await lines_of(api, ended.error_file_id)] == ["batch_expired"] * 2
    assert ended.expired_at is not None


async def test_another_key_finds_nothing(service: Service, api: openai.AsyncOpenAI) -> None:
    batch = await begun(api, [line(1)])
    _, secret = await service.keys.create("other")
    async with sdk(service, secret) as other:
        assert (await other.batches.list()).data == []
        for call in (
            other.batches.retrieve(batch.id),
            other.batches.cancel(batch.id),
            other.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"),
            other.batches.list(after=batch.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await call


async def test_the_list_is_paged(api: openai.AsyncOpenAI) -> None:
    made = [(await begun(api, [line(1)])).id for _ in range(3)]
    assert [batch.id async for batch in api.batches.list(limit=2)] == made[::-1]


async def test_a_key_has_only_so_many_open_batches() -> None:
    settings = BatchSettings(max_open_per_key=1, max_in_flight=0)
    async with running(QUICK, batches=settings) as service, sdk(service) as api:
        await begun(api, [line(1)])
        with pytest.raises(openai.RateLimitError):
            await begun(api, [line(1)])


async def test_a_revoked_keys_batches_are_cancelled(service: Service, api: openai.AsyncOpenAI) -> None:
    key, secret = await service.keys.create("leaver")
    async with sdk(service, secret) as leaver:
        batch = await begun(leaver, [line(at) for at in range(5)])
        await service.keys.revoke(key.id)
    while (found := await service.batches.batch(key.tenant, batch.id)).status in types.OPEN:
        await asyncio.sleep(0.02)
    assert found.status in ("cancelled", "completed")  # it may have been answered before


async def test_lines_take_no_place_of_their_key_among_what_runs_at_once(service: Service) -> None:
    _, secret = await service.keys.create("small", {"concurrent_requests": 1})
    async with sdk(service, secret) as api:
        batch = await begun(api, [line(at) for at in range(1, 31)])
        ended = await until(api, batch, "completed")
    assert ended.request_counts is not None
    assert ended.request_counts.to_dict() == {"total": 30, "completed": 30, "failed": 0}


async def test_two_replicas_share_a_batch_and_answer_each_line_once(service: Service, api: openai.AsyncOpenAI) -> None:
    async with running(QUICK, beside=service, batches=BatchSettings(max_in_flight=8)):
        batch = await begun(api, [line(at) for at in range(1, 201)])
        ended = await until(api, batch, "completed")
    outputs = await lines_of(api, ended.output_file_id)
    assert [out["custom_id"] for out in outputs] == [f"id-{at}" for at in range(1, 201)]
    assert ended.request_counts is not None
    assert ended.request_counts.completed == 200


async def test_lines_count_in_the_usage_of_their_key(service: Service, api: openai.AsyncOpenAI) -> None:
    await until(api, await begun(api, [line(at) for at in range(1, 6)]), "completed")
    while True:
        usage = (await service.http.get("/v1/me")).json()["usage"]
        if usage["requests"] >= 5:
            break
        await asyncio.sleep(0.02)
    assert usage["completion_tokens"] == 40


async def test_the_example_of_the_documentation_works(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/batches.md").read_text()
    lines, program = (re.findall(rf"```{kind}[^\n]*\n(.*?)```", page, re.DOTALL)[0] for kind in ("json", "python"))
    (tmp_path / "requests.jsonl").write_text(lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{service.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", service.secret)

    await asyncio.to_thread(exec, program, {})

    said = capsys.readouterr().out
    assert said.startswith("completed BatchRequestCounts(completed=2, failed=0, total=2)\n")
    assert [json.loads(text)["custom_id"] for text in said.splitlines()[1:] if text] == ["rhine", "danube"]


async def test_an_outage_of_the_store_loses_nothing(service: Service, api: openai.AsyncOpenAI) -> None:
    batch = await begun(api, [line(at) for at in range(1, 61)])
    while not (await service.batches.batch((await service.keys.list())[0].tenant, batch.id)).completed:
        await asyncio.sleep(0.01)
    service.batches.is_away = True
    await asyncio.sleep(0.2)
    service.batches.is_away = False
    ended = await until(api, batch, "completed")
    outputs = await lines_of(api, ended.output_file_id)
    assert [out["custom_id"] for out in outputs] == [f"id-{at}" for at in range(1, 61)]
