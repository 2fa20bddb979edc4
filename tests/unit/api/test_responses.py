"""Responses through OpenAI's own client, sync and async, whose types check every answer."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from deployments.config import ResponseSettings, ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}


@pytest.fixture
async def client(service: Service) -> AsyncGenerator[AsyncOpenAI]:
    async with openai_client(service) as client:
        yield client


def openai_client(service: Service, key: str | None = None) -> AsyncOpenAI:
    secret = key or service.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(
        base_url=f"{service.url}/v1", api_key=secret, max_retries=0, timeout=10, _strict_response_validation=True
    )


async def ended(client: AsyncOpenAI, response_id: str, timeout_s: float = 10) -> Any:
    async with asyncio.timeout(timeout_s):
        while (found := await client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    return found


async def test_a_chain_remembers_what_was_said(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="quick", input="hello world", metadata={"a": "b"}, temperature=0.5)
    second = await client.responses.create(model="quick", input="more", previous_response_id=first.id)

    assert (first.status, first.output_text) == ("completed", "hello world " * 4)
    assert (first.metadata, first.temperature, first.truncation) == ({"a": "b"}, 0.5, "disabled")
    assert first.usage and second.usage
    assert (first.usage.input_tokens, first.usage.output_tokens) == (2, 8)
    assert second.usage.input_tokens == 2 + 8 + 1
    assert await client.responses.retrieve(first.id) == first
    assert await client.responses.retrieve(second.id) == second


async def test_a_stream_is_the_whole_sequence_and_ends_as_it_is_stored(client: AsyncOpenAI) -> None:
    events = [e async for e in await client.responses.create(model="quick", input="hello world", stream=True)]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text == "hello world " * 4
    assert await client.responses.retrieve(last.response.id) == last.response


def test_the_synchronous_client() -> None:
    def ask(url: str, key: str) -> None:
        with OpenAI(base_url=url, api_key=key, max_retries=0, _strict_response_validation=True) as client:
            first = client.responses.create(model="quick", input="hello")
            assert list(client.responses.create(model="quick", input="x", stream=True))[-1].type == "response.completed"
            assert client.responses.retrieve(first.id).output_text == first.output_text
            assert [item.type for item in client.responses.input_items.list(first.id)] == ["message"]
            running = client.responses.create(model="slow", input="hello", background=True)
            assert client.responses.cancel(running.id).status == "cancelled"
            assert list(client.responses.retrieve(running.id, stream=True))[-1].type == "response.incomplete"
            client.responses.delete(first.id)
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(first.id)

    async def main() -> None:
        quick = ScriptedModel(id="quick", kind="scripted", tokens=8)
        slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
        async with running(quick, slow) as service:
            await asyncio.to_thread(ask, f"{service.url}/v1", service.http.headers["authorization"][7:])

    asyncio.run(main())


async def test_every_response_can_be_continued_so_that_branches_arise(client: AsyncOpenAI) -> None:
    root = await client.responses.create(model="quick", input="root")
    left = await client.responses.create(model="quick", input="left", previous_response_id=root.id)
    right = await client.responses.create(model="quick", input="right", previous_response_id=root.id)
    assert left.usage and right.usage
    assert left.usage.input_tokens == right.usage.input_tokens == 1 + 8 + 1
    assert left.output_text != right.output_text


async def test_items_go_into_a_conversation(client: AsyncOpenAI) -> None:
    conversation = await client.conversations.create()
    first = await client.responses.create(model="quick", input="hello world", conversation=conversation.id)
    second = await client.responses.create(model="quick", input="more", conversation={"id": conversation.id})

    assert first.conversation and first.conversation.id == conversation.id
    assert second.usage and second.usage.input_tokens == 2 + 8 + 1
    items = [item async for item in client.conversations.items.list(conversation.id, order="asc")]
    assert [getattr(item, "role", None) for item in items] == ["user", "assistant"] * 2
    assert items[1].id == first.output[0].id


async def test_a_hidden_conversation_is_not_listed(service: Service, client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="quick", input="hello")
    assert response.conversation is None
    assert (await service.http.get("/v1/conversations")).json()["data"] == []


async def test_nothing_is_kept_of_what_is_not_to_be_stored(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="quick", input="hello", store=False)
    assert (response.store if hasattr(response, "store") else False) is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="quick", input="more", previous_response_id=response.id)


async def test_what_is_deleted_or_another_s_is_not_there(service: Service, client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="quick", input="hello")
    _, secret = await service.keys.create("other")
    async with openai_client(service, secret) as other:
        for attempt in (
            lambda: other.responses.retrieve(response.id),
            lambda: other.responses.retrieve(response.id, stream=True),
            lambda: other.responses.delete(response.id),
            lambda: other.responses.cancel(response.id),
            lambda: other.responses.input_items.list(response.id),
            lambda: other.responses.create(model="quick", input="x", previous_response_id=response.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await attempt()
    await client.responses.delete(response.id)
    for attempt in (
        lambda: client.responses.retrieve(response.id),
        lambda: client.responses.delete(response.id),
        lambda: client.responses.create(model="quick", input="x", previous_response_id=response.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await attempt()


async def test_input_items_come_in_pages(client: AsyncOpenAI) -> None:
    asked: Any = [{"role": "user", "content": f"number {n}"} for n in range(5)]
    response = await client.responses.create(model="quick", input=asked)
    newest_first = [item async for item in client.responses.input_items.list(response.id, limit=2)]
    oldest_first = [item async for item in client.responses.input_items.list(response.id, limit=2, order="asc")]
    assert [item.content[0].text for item in oldest_first] == [f"number {n}" for n in range(5)]  # type: ignore[union-attr]
    assert newest_first == oldest_first[::-1]
    rest = await client.responses.input_items.list(response.id, after=str(oldest_first[3].id), order="asc")
    assert [item.id for item in rest.data] == [oldest_first[4].id]


async def test_a_function_is_called_and_its_output_answered(client: AsyncOpenAI) -> None:
    tools: Any = [WEATHER]
    first = await client.responses.create(
        model="quick", input="weather in Bonn", tools=tools, tool_choice={"type": "function", "name": "weather"}
    )
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("weather", "completed")
    output: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = await client.responses.create(model="quick", input=output, previous_response_id=first.id)
    assert second.status == "completed"
    items = [item async for item in client.responses.input_items.list(second.id)]
    assert [item.type for item in items] == ["function_call_output"]


async def test_a_function_call_is_streamed(client: AsyncOpenAI) -> None:
    tools: Any = [WEATHER]
    stream = await client.responses.create(
        model="quick", input="weather in Bonn", tools=tools, tool_choice="required", stream=True
    )
    events = [event async for event in stream]
    arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    (done,) = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert done.arguments == arguments != ""


async def test_a_format_by_schema(client: AsyncOpenAI) -> None:
    text: Any = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA}}
    response = await client.responses.create(model="quick", input="Bonn", text=text, max_output_tokens=64)
    assert response.output_text.lstrip().startswith("{")
    assert response.text and response.text.format and response.text.format.type == "json_schema"


async def test_an_answer_that_is_cut_off_is_incomplete(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="quick", input="hello", max_output_tokens=3)
    assert (response.status, response.output_text) == ("incomplete", "hello " * 3)
    assert response.incomplete_details and response.incomplete_details.reason == "max_output_tokens"
    stream = await client.responses.create(model="quick", input="hello", max_output_tokens=3, stream=True)
    assert [event async for event in stream][-1].type == "response.incomplete"


async def test_an_item_says_why_it_is_incomplete(client: AsyncOpenAI) -> None:
    conversation = await client.conversations.create()
    asked: Any = {"model": "quick", "conversation": conversation.id, "max_output_tokens": 3}
    await client.responses.create(**asked, input="hello")
    (cut, question) = [item.model_dump() for item in (await client.conversations.items.list(conversation.id)).data]
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert "incomplete_details" not in question
    again = await client.responses.create(model="quick", input=[question, cut, {"role": "user", "content": "more"}])
    assert again.status == "completed"


async def test_truncation_is_asked_for(client: AsyncOpenAI) -> None:
    long = await client.responses.create(model="quick", input="word " * 150)
    more = {"model": "quick", "input": "word " * 100, "previous_response_id": long.id}
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(**more)
    assert refused.value.code == "context_length_exceeded"
    assert (await client.responses.create(**more, truncation="auto")).status == "completed"


async def test_instructions_hold_for_one_response_only(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model="quick", input="hello", instructions="be very brief")
    second = await client.responses.create(model="quick", input="more", previous_response_id=first.id)
    assert first.usage and second.usage
    assert (first.usage.input_tokens, second.usage.input_tokens) == (1 + 3, 1 + 8 + 1)
    assert (first.instructions, second.instructions) == ("be very brief", None)


async def test_the_response_cache_answers_responses(service: Service) -> None:
    body = {"model": "quick", "input": "hello", "temperature": 0}
    first = await service.http.post(PATH, json=body)
    second = await service.http.post(PATH, json=body)
    streamed = await service.http.post(PATH, json={**body, "stream": True})
    headers = [response.headers["x-cache"] for response in (first, second, streamed)]
    assert headers == ["MISS", "HIT", "HIT"]
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["output"][0]["content"] == first.json()["output"][0]["content"]
    assert "response.completed" in streamed.text


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"tools": [{"type": "telepathy"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"include": ["nothing.of.this"]}, "include[0]"),
        ({"nonsense": 1}, "nonsense"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"type": "nonsense"}]}, "input[0].type"),
        ({"input": []}, "input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"background": True, "store": False}, "store"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"seed": "one"}, "seed"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"truncation": "some"}, "truncation"),
    ],
)
async def test_what_cannot_be_honored_is_refused_by_name(service: Service, extra: dict[str, Any], named: str) -> None:
    response = await service.http.post(PATH, json={"model": "quick", "input": "hello", **extra})
    assert (response.status_code, response.json()["error"]["param"]) == (400, named)


async def test_a_failure_in_mid_stream_is_an_event_and_is_kept() -> None:
    model = ScriptedModel(id="weak", kind="scripted", tokens=9, fail_after=3)
    async with running(model) as service, openai_client(service) as client:
        stream = await client.responses.create(model="weak", input="hello big world", stream=True)
        last = [event async for event in stream][-1]
        assert last.type == "response.failed"
        assert last.response.error and last.response.error.code == "server_error"
        found = await ended(client, last.response.id, 2)
        assert (found.status, found.output_text) == ("failed", "hello big world ")


async def test_a_client_that_leaves_leaves_an_incomplete_response(service: Service, client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="slow", input="hello", stream=True)
    response_id = ""
    async for event in stream:
        response_id = response_id or event.response.id  # type: ignore[union-attr]
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    found = await ended(client, response_id, 2)
    assert found.status == "incomplete"
    assert found.output_text.startswith("hello")
    assert await service.models.replicas["slow"].running() == 0


async def test_a_response_in_the_background_is_polled(client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="quick", input="hello world", background=True)
    assert (begun.status, begun.background) == ("queued", True)
    found = await ended(client, begun.id)
    assert (found.status, found.output_text) == ("completed", "hello world " * 4)
    continued = await client.responses.create(model="quick", input="more", previous_response_id=begun.id)
    assert continued.usage and continued.usage.input_tokens == 2 + 8 + 1


async def test_the_events_of_the_background_can_be_taken_up_anywhere(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(
        model="slow", input="hello", max_output_tokens=20, background=True, stream=True
    )
    seen = []
    async for event in stream:
        seen.append(event)
        if len(seen) == 7:
            break
    await stream.close()
    response_id = seen[0].response.id  # type: ignore[union-attr]
    for after in (6, 2):
        rest = [e async for e in await client.responses.retrieve(response_id, stream=True, starting_after=after)]
        assert [event.sequence_number for event in rest] == list(range(after + 1, after + 1 + len(rest)))
        assert rest[-1].type == "response.incomplete"
    whole = [event async for event in await client.responses.retrieve(response_id, stream=True)]
    assert whole[:7] == seen
    assert whole[7:] == rest[4:]
    assert whole[-1].response == await client.responses.retrieve(response_id)  # type: ignore[union-attr]


async def test_cancelling_stops_the_model_and_keeps_what_there_is(service: Service, client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="slow", input="hello", background=True)
    replica = service.models.replicas["slow"]
    async with asyncio.timeout(2):
        while not await replica.running():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    assert (await client.responses.cancel(begun.id)).status == "cancelled"
    async with asyncio.timeout(2):
        while await replica.running():
            await asyncio.sleep(0.01)
    assert time.monotonic() - began < 1
    async with asyncio.timeout(2):
        while not (found := await client.responses.retrieve(begun.id)).output:
            await asyncio.sleep(0.02)
    assert (found.status, found.output_text[:6]) == ("cancelled", "hello ")
    assert (await client.responses.cancel(begun.id)).status == "cancelled"


async def test_only_the_background_can_be_cancelled_or_streamed_again(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="quick", input="hello")
    with pytest.raises(openai.BadRequestError):
        await client.responses.cancel(response.id)
    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(response.id, stream=True)


async def test_a_response_that_has_not_ended_cannot_be_continued(client: AsyncOpenAI) -> None:
    begun = await client.responses.create(model="slow", input="hello", background=True)
    with pytest.raises(openai.ConflictError):
        await client.responses.create(model="quick", input="more", previous_response_id=begun.id)
    await client.responses.cancel(begun.id)


async def test_while_the_store_is_away_new_responses_are_answered_and_written_later(
    service: Service, client: AsyncOpenAI
) -> None:
    before = await client.responses.create(model="quick", input="before")
    service.history.is_away = True
    during = await client.responses.create(model="quick", input="during")
    for attempt in (
        lambda: client.responses.create(model="quick", input="x", previous_response_id=before.id),
        lambda: client.responses.create(model="quick", input="x", background=True),
        lambda: client.responses.retrieve(before.id),
    ):
        with pytest.raises(openai.InternalServerError) as refused:
            await attempt()
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
    service.history.is_away = False
    after = await client.responses.create(model="quick", input="after", previous_response_id=during.id)
    assert after.usage and after.usage.input_tokens == 1 + 8 + 1
    assert (await client.responses.retrieve(during.id)).output_text == during.output_text


async def test_the_background_is_bounded() -> None:
    model = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with (
        running(model, responses=ResponseSettings(max_background=1)) as service,
        openai_client(service) as client,
    ):
        begun = await client.responses.create(model="slow", input="hello", background=True)
        refused: httpx.Response = await service.http.post(PATH, json={"input": "hello", "background": True})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        await client.responses.cancel(begun.id)
