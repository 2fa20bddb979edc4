"""A large item of a conversation is read whole, or refused in words: never forgotten."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.config import HistorySettings, ScriptedModel
from deployments.history.types import PAGE_BYTES
from tests.unit.api.conftest import Service, running

MODEL = ScriptedModel(id="large", kind="scripted", tokens=4, context_tokens=10**6)
WORDS = 280_000
LARGE = "word " * WORDS


@pytest.fixture
async def large() -> AsyncGenerator[Service]:
    """A service whose model has a large window."""
    async with running(MODEL) as service:
        yield service


@pytest.fixture
async def small() -> AsyncGenerator[Service]:
    """The same, that reads less of a conversation than one item of it may be."""
    async with running(MODEL, history=HistorySettings(max_context_bytes=100_000)) as service:
        yield service


async def respond(service: Service, **asked: Any) -> dict[str, Any]:
    answer = await service.http.post("/v1/responses", json={"input": "and now?", **asked})
    return answer.json() | {"http_status": answer.status_code}


async def conversation(service: Service, *texts: str) -> tuple[str, str]:
    """Return the ids of a conversation and of its first item."""
    made = (await service.http.post("/v1/conversations", json={})).json()["id"]
    items = [{"role": "user", "content": text} for text in texts]
    if not items:
        return made, ""
    added = (await service.http.post(f"/v1/conversations/{made}/items", json={"items": items})).json()
    return made, added["data"][0]["id"]


async def test_a_large_text_is_read_by_the_next_response_and_the_next_chat(large: Service) -> None:
    made, _ = await conversation(large, LARGE, "hm")
    by_conversation = await respond(large, conversation=made)
    assert by_conversation["usage"]["input_tokens"] > WORDS
    by_response = await respond(large, previous_response_id=by_conversation["id"])
    assert by_response["usage"]["input_tokens"] > WORDS
    body = {"conversation": made, "messages": [{"role": "user", "content": "and now?"}]}
    chat = (await large.http.post("/v1/chat/completions", json=body)).json()
    assert chat["usage"]["prompt_tokens"] > WORDS


async def test_what_is_too_large_is_named(small: Service) -> None:
    made, item = await conversation(small, LARGE, "hm")
    refused = await respond(small, conversation=made)
    assert (refused["http_status"], refused["error"]["code"]) == (400, "context_length_exceeded")
    assert item in refused["error"]["message"]
    assert "1,400," in refused["error"]["message"]
    assert (await respond(small, conversation=made, truncation="auto"))["http_status"] == 200


async def test_a_chain_names_what_is_too_large_too(small: Service) -> None:
    first = await respond(small, input=LARGE)
    refused = await respond(small, previous_response_id=first["id"])
    assert (refused["http_status"], refused["error"]["param"]) == (400, "truncation")
    assert (await respond(small, previous_response_id=first["id"], truncation="auto"))["http_status"] == 200


async def test_more_items_than_are_read_are_said_so() -> None:
    async with running(ScriptedModel(id="short", kind="scripted", tokens=4, max_prompt_messages=2)) as service:
        made, _ = await conversation(service, "a", "b", "c")
        refused = await respond(service, conversation=made)
        assert refused["error"]["message"].startswith("The conversation has more than 2 items")


async def test_a_page_of_large_items_ends_early_and_goes_on(large: Service) -> None:
    made, _ = await conversation(large)
    for _ in range(5):
        item = {"role": "user", "content": "x" * (PAGE_BYTES // 2 - 1000)}
        await large.http.post(f"/v1/conversations/{made}/items", json={"items": [item]})
    ids: list[str] = []
    sizes: list[int] = []
    has_more = True
    while has_more:
        after = {"after": ids[-1]} if ids else {}
        answer = await large.http.get(f"/v1/conversations/{made}/items", params={"limit": 100, **after})
        page = answer.json()
        assert page["last_id"] == page["data"][-1]["id"]
        ids += [item["id"] for item in page["data"]]
        sizes.append(len(answer.content))
        has_more = page["has_more"]
    assert (len(ids), len(set(ids)), len(sizes)) == (5, 5, 3)
    assert max(sizes) < PAGE_BYTES + 10_000
