"""`store: true` as OpenAI's own client sees it, over real HTTP."""

import asyncio

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionStoreMessage

from tests.unit.api.conftest import Service

HELLO = [{"role": "user", "content": "hello big world"}]
PATH = "/v1/chat/completions"


def client(service: Service, key: str | None = None) -> AsyncOpenAI:
    """OpenAI's client; every answer must be of the types that it declares."""
    key = key or service.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(
        base_url=f"{service.url}/v1",
        api_key=key,
        max_retries=0,
        _strict_response_validation=True,
        http_client=httpx.AsyncClient(timeout=10),
    )


async def test_a_stored_completion_lives_until_it_is_deleted(service: Service) -> None:
    async with client(service) as ann:
        chat = ann.chat.completions
        made = await chat.create(model="quick", messages=HELLO, store=True, metadata={"topic": "rivers"})  # type: ignore[arg-type]
        found = await chat.retrieve(made.id)
        assert found.choices == made.choices
        assert (found.metadata, found.usage) == ({"topic": "rivers"}, made.usage)

        changed = await chat.update(made.id, metadata={"topic": "hills"})
        assert (changed.id, changed.metadata) == (made.id, {"topic": "hills"})
        listed = [entry.id async for entry in chat.list(model="quick", metadata={"topic": "hills"}, limit=1)]
        assert listed == [made.id]
        assert [entry.id async for entry in chat.list(metadata={"topic": "rivers"})] == []

        assert (await chat.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await chat.retrieve(made.id)


async def test_a_streamed_and_a_cached_answer_are_stored_as_well(service: Service) -> None:
    async with client(service) as ann:
        chat = ann.chat.completions
        for _ in range(2):
            stream = await chat.create(model="quick", messages=HELLO, store=True, seed=1, stream=True)  # type: ignore[call-overload]
            ids = {chunk.id async for chunk in stream}
            assert len(ids) == 1
            stored = await chat.retrieve(ids.pop())
            assert stored.choices[0].message.content == "hello big world " * 2 + "hello big "
        hit = await chat.with_raw_response.create(model="quick", messages=HELLO, store=True, seed=1)  # type: ignore[arg-type]
        assert hit.headers["x-cache"] == "HIT"
        assert (await chat.retrieve(hit.parse().id)).id == hit.parse().id
        assert len([entry async for entry in chat.list()]) == 3


async def test_without_store_nothing_is_kept(service: Service) -> None:
    for body in ({}, {"store": False}):
        await service.http.post(PATH, json={"model": "quick", "messages": HELLO, **body})
    assert (await service.http.get(PATH)).json()["data"] == []


async def test_the_messages_are_those_of_the_request(service: Service) -> None:
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "world"}]
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": parts}]
    made = await service.http.post(PATH, json={"model": "quick", "messages": messages, "store": True})
    path = f"{PATH}/{made.json()['id']}/messages"

    page = (await service.http.get(path, params={"limit": 1})).json()
    rest = (await service.http.get(path, params={"after": page["last_id"]})).json()

    assert (page["data"][0]["role"], page["data"][0]["content"], page["has_more"]) == ("system", "be kind", True)
    assert (rest["data"][0]["content"], rest["data"][0]["content_parts"]) == ("hello world", parts)
    for message in page["data"] + rest["data"]:
        # The types know only the assistant's role here; OpenAI itself answers with the one that was sent.
        ChatCompletionStoreMessage.model_validate({**message, "role": "assistant"}, strict=True)


async def test_another_key_finds_nothing(service: Service) -> None:
    made = await service.http.post(PATH, json={"model": "quick", "messages": HELLO, "store": True})
    _, other = await service.keys.create("other")
    async with client(service, other) as bob:
        with pytest.raises(openai.NotFoundError):
            await bob.chat.completions.retrieve(made.json()["id"])
        with pytest.raises(openai.NotFoundError):
            await bob.chat.completions.delete(made.json()["id"])
        assert [entry async for entry in bob.chat.completions.list()] == []


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "?metadata[a", None),
        ("GET", "?metadata=x", None),
        ("GET", "?metadata[a]=1&metadata[a]=2", None),
        ("GET", "?limit=0", None),
        ("GET", "?order=up", None),
        ("POST", "/chatcmpl-x", {}),
        ("POST", "/chatcmpl-x", {"metadata": {"k": 1}}),
        ("POST", "/chatcmpl-x", {"metadata": {"k": "v" * 513}}),
        ("POST", "/chatcmpl-x", {"metadata": {str(n): "v" for n in range(17)}}),
        ("POST", "/chatcmpl-x", {"metadata": {}, "more": 1}),
        ("POST", "", {"model": "quick", "messages": HELLO, "store": True, "metadata": {"k" * 65: "v"}}),
    ],
)
async def test_what_is_malformed_is_refused_by_name(service: Service, method: str, path: str, content: object) -> None:
    response = await service.http.request(method, PATH + path, json=content)
    assert response.status_code == 400
    assert response.json()["error"]["param"]


async def test_a_full_writer_refuses_to_store_and_answers_everyone_else(service: Service) -> None:
    service.completions.is_away = service.history.is_away = True
    service.writer._max_pending = 1
    waiting = await service.http.post(PATH, json={"model": "quick", "messages": HELLO, "store": True})
    assert waiting.status_code == 200

    refused = await service.http.post(PATH, json={"model": "quick", "messages": HELLO, "store": True})
    other = await service.http.post(PATH, json={"model": "quick", "messages": HELLO})

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "history_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert other.status_code == 200
    service.completions.is_away = service.history.is_away = False
    assert await service.writer.drain(10) == 0
    assert (await service.http.get(f"{PATH}/{waiting.json()['id']}")).status_code == 200


async def test_an_answer_that_was_cut_short_is_not_stored(service: Service) -> None:
    request = {"model": "slow", "messages": HELLO, "store": True, "stream": True}
    async with service.http.stream("POST", PATH, json=request) as response:
        async for line in response.aiter_lines():
            if "hello" in line:
                break
    replica = service.models.replicas["slow"]
    while await replica.running():
        await asyncio.sleep(0.01)
    assert await service.writer.drain(5) == 0
    assert (await service.http.get(PATH)).json()["data"] == []
