"""Conversations and their items as OpenAI's own client sees them, over real HTTP."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.unit.api.conftest import Service

ITEMS: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what is this?"}]},
    {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}],
    },
    {"type": "reasoning", "id": "rs_theirs", "summary": [{"type": "summary_text", "text": "hm"}]},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}", "id": "fc_theirs"},
    {"type": "function_call_output", "call_id": "call_1", "output": "a pixel"},
    {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "a pixel"}]},
    {"role": "assistant", "content": [{"type": "output_text", "text": "a pixel"}], "status": "incomplete"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
]


@pytest.fixture
async def ann(service: Service) -> AsyncGenerator[AsyncOpenAI]:
    """OpenAI's client; every answer must be of the types that it declares."""
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    async with AsyncOpenAI(
        base_url=f"{service.url}/v1",
        api_key=key,
        max_retries=0,
        _strict_response_validation=True,
        http_client=httpx.AsyncClient(timeout=10),
    ) as client:
        yield client


async def test_a_conversation_lives_until_it_is_deleted(ann: AsyncOpenAI) -> None:
    made = await ann.conversations.create(metadata={"topic": "rivers"}, items=[{"role": "user", "content": "hi"}])
    assert (await ann.conversations.retrieve(made.id)) == made
    changed = await ann.conversations.update(made.id, metadata={"topic": "hills"})
    assert changed.metadata == {"topic": "hills"}
    assert (await ann.conversations.update(made.id, metadata=None)).metadata == {}
    assert (await ann.conversations.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await ann.conversations.retrieve(made.id)


async def test_items_of_every_type_come_back_as_they_were_sent(ann: AsyncOpenAI) -> None:
    made = await ann.conversations.create()
    added = await ann.conversations.items.create(made.id, items=ITEMS)  # type: ignore[arg-type]
    listed = [item async for item in ann.conversations.items.list(made.id, order="asc", limit=4)]

    assert [item.to_dict() for item in listed] == [item.to_dict() for item in added.data]
    assert [item.type for item in listed] == [item.get("type", "message") for item in ITEMS]
    assert not {"rs_theirs", "fc_theirs"} & {item.id for item in listed}
    for sent, item in zip(ITEMS, listed, strict=True):
        got = (await ann.conversations.items.retrieve(item.id, conversation_id=made.id)).to_dict()
        kept = {name: value for name, value in sent.items() if name not in ("id", "content")}
        assert kept.items() <= got.items()
    assert listed[0].to_dict()["content"] == [{"type": "input_text", "text": "be kind"}]
    assert listed[7].to_dict()["content"] == [{"type": "output_text", "text": "a pixel", "annotations": []}]

    await ann.conversations.items.delete(listed[0].id, conversation_id=made.id)
    with pytest.raises(openai.NotFoundError):
        await ann.conversations.items.retrieve(listed[0].id, conversation_id=made.id)


async def test_a_conversation_with_a_chat_in_it_is_of_the_declared_types(ann: AsyncOpenAI) -> None:
    made = await ann.conversations.create()
    parts = [{"type": "text", "text": "look at"}, {"type": "text", "text": " this"}]
    await ann.chat.completions.create(
        model="quick",
        messages=[{"role": "user", "content": parts}],  # type: ignore[typeddict-item]
        extra_body={"conversation": made.id},
    )
    items = [item async for item in ann.conversations.items.list(made.id, order="asc")]
    assert [(item.type, item.to_dict()["role"]) for item in items] == [("message", "user"), ("message", "assistant")]


async def test_items_can_follow_any_item(service: Service) -> None:
    path = f"/v1/conversations/{(await service.http.post('/v1/conversations', json={})).json()['id']}/items"

    async def add(text: str, **more: Any) -> dict[str, Any]:
        body = {"items": [{"role": "user", "content": text}], **more}
        return (await service.http.post(path, json=body)).json()["data"][0]

    first, second = await add("a"), await add("b")
    branch = await add("c", parent=first["id"])
    anew = await add("d", parent="")
    assert [item["parent_id"] for item in (first, second, branch, anew)] == [None, first["id"], first["id"], None]
    missing = await service.http.post(path, json={"items": [{"role": "user", "content": "e"}], "parent": "msg_x"})
    assert missing.status_code == 409


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "user"}, "items[0]"),
        ({"role": "critic", "content": "x"}, "items[0].role"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "items[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "items[0].content[0]"),
        ({"type": "web_search_call", "id": "x"}, "items[0].type"),
        ({"type": "item_reference", "id": "msg_x"}, "items[0].type"),
        ({"type": ["message"]}, "items[0].type"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "items[0].arguments"),
        ({"type": "function_call_output", "output": "x"}, "items[0]"),
        ({"type": "reasoning", "summary": "x"}, "items[0].summary"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "items[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_file", "file_data": "YQ=="}]}, "items[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "items[0].content[0].image_url"),
        (
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "f"}]},
            "items[0].output[0].type",
        ),
    ],
)
async def test_what_no_item_is_is_refused_by_name(service: Service, item: dict[str, Any], param: str) -> None:
    there = (await service.http.post("/v1/conversations", json={})).json()["id"]
    for path in ("/v1/conversations", f"/v1/conversations/{there}/items"):
        response = await service.http.post(path, json={"items": [item]})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, param)
        assert "`str`" not in error["message"] and "`array`" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"k" * 65: "v"}},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {str(n): "v" for n in range(17)}},
        {"name": "x"},
        {"items": [{"role": "user", "content": "x"}] * 21},
    ],
)
async def test_a_conversation_has_openais_bounds(service: Service, body: dict[str, Any]) -> None:
    assert (await service.http.post("/v1/conversations", json=body)).status_code == 400


async def test_include_is_granted_or_refused_by_name(ann: AsyncOpenAI) -> None:
    made = await ann.conversations.create(items=[{"role": "user", "content": "hi"}])
    listing = ann.conversations.items.list
    may_be_included: Any = ["reasoning.encrypted_content", "file_search_call.results"]
    assert [item async for item in listing(made.id, include=may_be_included)]
    nonsense: Any = ["reasoning.encrypted_content", "nothing.of.this"]
    with pytest.raises(openai.BadRequestError) as caught:
        await listing(made.id, include=nonsense)
    assert caught.value.param == "include"
    assert "nothing.of.this" in caught.value.message


async def test_search_marks_what_it_found_and_pages(service: Service) -> None:
    ids: list[str] = []
    for text in ("<i>Rhine</i> & Elbe", "the rhine"):
        made = await service.http.post("/v1/conversations", json={"items": [{"role": "user", "content": text}]})
        ids.append(made.json()["id"])

    first = (await service.http.get("/v1/conversations/search", params={"q": "rhin", "limit": 1})).json()
    after = {"q": "rhin", "after": first["last_id"]}
    rest = (await service.http.get("/v1/conversations/search", params=after)).json()

    assert (first["has_more"], rest["has_more"]) == (True, False)
    both = {match["id"]: match for match in first["data"] + rest["data"]}
    assert set(both) == set(ids)
    assert both[ids[0]]["snippet"] == [
        {"text": "<i>", "match": False},
        {"text": "Rhine", "match": True},
        {"text": "</i> & Elbe", "match": False},
    ]
    assert both[ids[0]]["conversation"]["object"] == "conversation"
    _, other = await service.keys.create("other")
    theirs = await service.http.get(
        "/v1/conversations/search", params={"q": "rhine"}, headers={"authorization": f"Bearer {other}"}
    )
    assert theirs.json()["data"] == []


@pytest.mark.parametrize("query", ["", "q=", "q=" + "x" * 1001, "q=x&limit=0", "q=x&limit=51"])
async def test_a_search_has_bounds(service: Service, query: str) -> None:
    assert (await service.http.get(f"/v1/conversations/search?{query}")).status_code == 400
