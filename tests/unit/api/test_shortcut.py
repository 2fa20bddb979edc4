"""The short way to chats answers as the way through FastAPI does, whatever is asked."""

import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from deployments.api.http.shortcut import Shortcut
from deployments.config import Limits, ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT: dict[str, Any] = {"messages": MESSAGES, "temperature": 0}
OF_EACH = (
    "date",
    "server-timing",
    "x-request-id",
    "x-ratelimit-reset-requests",
    "retry-after",
    "age",
    "content-length",
)
"""Headers that differ between any two answers; the length does where one says "in 9 s" and the other "in 10 s"."""


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    model = ScriptedModel(id="quick", kind="scripted", tokens=4)
    failing = ScriptedModel(id="failing", kind="scripted", fail_after=2)
    async with running(model, failing, limits=Limits(max_body_bytes=2_000)) as service:
        yield service


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"json": CHAT}, 200),
        ({"json": CHAT | {"stream": True, "stream_options": {"include_usage": True}}}, 200),
        ({"json": CHAT | {"model": "failing", "stream": True}}, 200),
        ({"json": CHAT | {"model": "failing"}}, 500),
        ({"json": CHAT, "headers": {"cache-control": "no-store"}}, 200),
        ({"json": CHAT | {"seed": 5}, "headers": {"cache-control": "only-if-cached"}}, 504),
        ({"json": CHAT, "headers": {"authorization": ""}}, 401),
        ({"json": CHAT, "headers": {"x-request-id": "two words"}}, 400),
        ({"json": CHAT | {"model": "gpt-9"}}, 404),
        ({"json": CHAT | {"conversation": "conv_none"}}, 404),
        ({"json": {"messages": []}}, 400),
        ({"json": {"messages": MESSAGES, "temperature": 9}}, 400),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"x" * 3_000, "headers": {"content-type": "application/json"}}, 413),
        ({"content": b"a=b", "headers": {"content-type": "application/x-www-form-urlencoded"}}, 415),
        ({"content": b"{}", "headers": {"content-encoding": "br"}}, 415),
        ({"method": "PUT", "json": CHAT}, 405),
        ({"url": PATH + "/", "json": CHAT}, 200),
        ({"url": PATH + "?stream=true", "json": CHAT}, 200),
    ],
)
async def test_both_ways_answer_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], status: int
) -> None:
    request = {"method": "POST", "url": PATH, **asked}
    short = [await service.http.request(**request) for _ in range(2)]
    monkeypatch.setattr(Shortcut, "__call__", through_fastapi)
    long = [await service.http.request(**request) for _ in range(2)]
    assert [answer.status_code for answer in (*short, *long)] == [status] * 4
    assert seen(short[1]) == seen(long[1])


async def test_both_ways_refuse_past_a_limit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[Any] = []
    for way in (Shortcut.__call__, through_fastapi):
        monkeypatch.setattr(Shortcut, "__call__", way)
        _, secret = await service.keys.create(f"limited {len(refused)}", {"requests_per_minute": 1})
        headers = {"authorization": f"Bearer {secret}"}
        answers = [await service.http.post(PATH, json=CHAT, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert answers[0].headers["x-ratelimit-remaining-requests"] == "0"
        refused.append(seen(answers[1]))
    assert refused[0] == refused[1]


async def through_fastapi(shortcut: Shortcut, *call: Any) -> None:
    await shortcut._app(*call)


def seen(answer: httpx.Response) -> Any:
    """What a client sees of an answer, but for what differs between any two."""
    headers = {name: value for name, value in answer.headers.items() if name not in OF_EACH}
    body = re.sub(r"(chatcmpl-|req_)[0-9a-f]+", "ID", answer.text)
    body = re.sub(r'"created":\d+|in [0-9.]+s', "", body)
    return answer.status_code, headers, json.dumps(body)
