"""Anthropic's own SDK against scripted models: messages, streams, tools, errors, and what they cost."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import anthropic
import httpx
import pytest

from deployments.config import Limits, ScriptedModel
from deployments.keys.types import KeyChanges
from tests.unit.api.conftest import Service, running

SAID: Any = [{"role": "user", "content": "What is the weather in San Francisco, CA?"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
async def served() -> AsyncGenerator[Service]:
    """A service with the models `guide`, called `claude-…` too, `slow`, and `failing`."""
    models = (
        ScriptedModel(id="guide", kind="scripted", tokens=8),
        ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20),
        ScriptedModel(id="failing", kind="scripted", tokens=8, fail_after=3),
    )
    async with running(*models, aliases={"claude-*": "guide", "sonnet": "guide"}) as service:
        yield service


def client(service: Service, key: str = "", **options: Any) -> anthropic.AsyncAnthropic:
    secret = key or service.http.headers["authorization"].removeprefix("Bearer ")
    return anthropic.AsyncAnthropic(base_url=service.url, api_key=secret, max_retries=0, timeout=10, **options)


@pytest.fixture
async def api(served: Service) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """The client, with the key of the service; it checks every answer strictly."""
    async with client(served, _strict_response_validation=True) as api:
        yield api


async def until_idle(service: Service, model: str) -> None:
    async with asyncio.timeout(5):
        while await service.models.running(model):
            await asyncio.sleep(0.01)


async def test_a_message_is_answered_whole(api: anthropic.AsyncAnthropic) -> None:
    message = await api.messages.create(
        model="claude-sonnet-9",
        max_tokens=20,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello there"}]}],
        metadata={"user_id": "someone"},
        extra_body={"top_k": 5, "temperature": 0.5},
        service_tier="auto",
    )
    assert (message.type, message.role, message.model) == ("message", "assistant", "guide")
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].type == "text" and message.content[0].text == "hello there " * 4
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 8)
    assert message.id.startswith("msg_") and (message._request_id or "").startswith("req_")


async def test_a_stream_tells_the_usage_first_and_accumulates_to_the_message(api: anthropic.AsyncAnthropic) -> None:
    async with api.messages.stream(model="guide", max_tokens=20, messages=SAID) as stream:
        events = [event async for event in stream]
        message = await stream.get_final_message()
    first = events[0]
    assert first.type == "message_start" and first.message.usage.input_tokens == 8
    assert events[-1].type == "message_stop"
    assert message.content[0].type == "text" and message.content[0].text.startswith("What is the weather in San ")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (8, 8)
    assert message.stop_reason == "end_turn"


async def test_why_a_message_ends(api: anthropic.AsyncAnthropic) -> None:
    bounded = await api.messages.create(model="guide", max_tokens=3, messages=SAID)
    assert (bounded.stop_reason, bounded.usage.output_tokens) == ("max_tokens", 3)
    stopped = await api.messages.create(model="guide", max_tokens=20, messages=SAID, stop_sequences=["weather"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "weather")
    assert stopped.content[0].type == "text" and stopped.content[0].text == "What is the "


@pytest.mark.parametrize("streams", [False, True])
async def test_a_tool_is_called_and_its_result_read(api: anthropic.AsyncAnthropic, streams: bool) -> None:
    async def answered(messages: Any) -> anthropic.types.Message:
        if not streams:
            return await api.messages.create(model="guide", max_tokens=200, messages=messages, tools=[WEATHER])
        async with api.messages.stream(model="guide", max_tokens=200, messages=messages, tools=[WEATHER]) as stream:
            return await stream.get_final_message()

    first = await answered(SAID)
    assert first.stop_reason == "tool_use"
    (call,) = first.content
    assert call.type == "tool_use" and (call.name, call.input) == ("get_weather", {"location": "San Francisco"})
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Sunny, 20"}]}
    told: Any = [*SAID, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = await answered(told)
    assert second.content[0].type == "text" and second.content[0].text == "Sunny, 20 " * 4


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "none"}, []),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "auto"}, ["get_weather", "get_time"]),
    ],
    ids=str,
)
async def test_the_choice_of_a_tool(api: anthropic.AsyncAnthropic, choice: Any, called: list[str]) -> None:
    said: Any = [{"role": "user", "content": "weather and time in 'Bonn'"}]
    tools: Any = [WEATHER, {**WEATHER, "name": "get_time"}]
    message = await api.messages.create(model="guide", max_tokens=200, messages=said, tools=tools, tool_choice=choice)
    assert [block.name for block in message.content if block.type == "tool_use"] == called
    assert message.stop_reason == ("tool_use" if called else "end_turn")
    async with api.messages.stream(
        model="guide", max_tokens=200, messages=said, tools=tools, tool_choice=choice
    ) as stream:
        streamed = await stream.get_final_message()
    assert [(b.type, getattr(b, "input", None)) for b in streamed.content] == [
        (b.type, getattr(b, "input", None)) for b in message.content
    ]


async def test_tools_of_anthropics_servers_are_left_out_and_named(served: Service) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]
    body = {"model": "guide", "max_tokens": 20, "messages": SAID, "tools": tools, "context_management": {"edits": [1]}}
    answer = await served.http.post("/v1/messages", json=body)
    assert answer.headers["x-chatllm-ignored"] == "web_search_20250305, context_management"
    for choice in ({"type": "any"}, {"type": "tool", "name": "web_search"}):
        forced = await served.http.post("/v1/messages", json={**body, "tool_choice": choice})
        assert forced.status_code == 400 and "web_search_20250305" in forced.json()["error"]["message"]


async def test_an_answer_of_json_fits_its_schema(api: anthropic.AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    message = await api.messages.create(
        model="guide",
        max_tokens=100,
        messages=[{"role": "user", "content": "Ann is 41 years old."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert message.content[0].type == "text" and json.loads(message.content[0].text) == {"age": 41}


async def test_thinking_is_a_block_of_its_own_and_returns_with_the_next_turn(served: Service) -> None:
    body: dict[str, Any] = {"model": "guide", "max_tokens": 50, "messages": SAID, "output_config": {"effort": "high"}}
    async with client(served) as api:
        whole = await api.messages.create(**body)
        async with api.messages.stream(**body, thinking={"type": "adaptive"}) as stream:
            streamed = await stream.get_final_message()
        assert [block.type for block in streamed.content] == ["thinking", "text"]
        assert [block.to_dict() for block in whole.content] == [
            {name: value for name, value in block.to_dict().items() if name != "parsed_output"}
            for block in streamed.content
        ]
        thought = streamed.content[0]
        assert thought.type == "thinking" and thought.thinking and thought.signature
        said: Any = [*SAID, {"role": "assistant", "content": streamed.content}, {"role": "user", "content": "and now"}]
        assert (await api.messages.create(model="guide", max_tokens=50, messages=said)).stop_reason == "end_turn"


async def test_tokens_are_counted_by_the_models_tokenizer(api: anthropic.AsyncAnthropic) -> None:
    counted = await api.messages.count_tokens(
        model="guide", system="Sys", messages=[{"role": "user", "content": "hello"}], tools=[WEATHER]
    )
    assert counted.input_tokens == len("Sys\nhello")


async def test_models_are_listed_as_anthropics_sdk_reads_them(api: anthropic.AsyncAnthropic, served: Service) -> None:
    models = [model async for model in api.models.list()]
    assert [model.id for model in models] == ["guide", "slow", "failing", "sonnet"]
    assert models[0].max_input_tokens == 2048
    assert (await api.models.retrieve("claude-opus-4")).id == "claude-opus-4"
    with pytest.raises(anthropic.NotFoundError):
        await api.models.retrieve("gpt-4")
    assert (await served.http.get("/v1/models")).json()["object"] == "list"


@pytest.mark.parametrize(
    ("more", "error", "kind", "words"),
    [
        ({"model": "gpt-9"}, anthropic.NotFoundError, "not_found_error", "gpt-9"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
        ({"extra_body": {"temperature": 3}}, anthropic.BadRequestError, "invalid_request_error", "temperature"),
        ({"extra_body": {"nonsense": 1}}, anthropic.BadRequestError, "invalid_request_error", "nonsense"),
        ({"extra_body": {"mcp_servers": [{}]}}, anthropic.BadRequestError, "invalid_request_error", "mcp_servers"),
        ({"messages": []}, anthropic.BadRequestError, "invalid_request_error", "messages"),
        (
            {"messages": [{"role": "user", "content": "word " * 3000}]},
            anthropic.BadRequestError,
            "invalid_request_error",
            "context length",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
            anthropic.BadRequestError,
            "invalid_request_error",
            "plain text",
        ),
        ({"model": "failing"}, anthropic.InternalServerError, "api_error", "failed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_errors_are_anthropics(
    api: anthropic.AsyncAnthropic, more: Any, error: type[anthropic.APIStatusError], kind: str, words: str
) -> None:
    asked = {"model": "guide", "max_tokens": 20, "messages": SAID, **more}
    with pytest.raises(error) as raised:
        await api.messages.create(**asked)
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert words in body["error"]["message"]
    assert body["request_id"] == raised.value.request_id
    assert set(body["error"]) == {"type", "message"}


async def test_a_wrong_key_and_an_unknown_path_are_anthropics_errors(served: Service) -> None:
    async with client(served, "sk-wrong") as api:
        with pytest.raises(anthropic.AuthenticationError):
            await api.messages.create(model="guide", max_tokens=9, messages=SAID)
    for method, path, kind in (
        ("POST", "/v1/messages/batches", "not_found_error"),
        ("GET", "/v1/messages", "invalid_request_error"),
    ):
        answer = await served.http.request(method, path, json={})
        assert answer.json()["error"]["type"] == kind
    for path in ("/v1/chat/completions", "/v1/messagesX"):
        assert "code" in (await served.http.post(path, json={})).json()["error"], "others keep OpenAI's shape"


async def test_a_failure_in_the_middle_is_an_error_event(served: Service) -> None:
    async with client(served) as api:
        text = ""
        with pytest.raises(anthropic.APIStatusError) as raised:
            async with api.messages.stream(model="failing", max_tokens=20, messages=SAID) as stream:
                async for piece in stream.text_stream:
                    text += piece
        assert text == "What is the "
        body: Any = raised.value.body
        assert body["error"]["type"] == "api_error"
    figures = await served.metrics.report(60, 5)
    assert dict(figures.report.total.statuses) == {500: 1}


async def test_who_leaves_stops_the_model(served: Service) -> None:
    async with client(served) as api:
        async with api.messages.stream(model="slow", max_tokens=400, messages=SAID) as stream:
            async for event in stream:
                if event.type == "text":
                    break
            assert await served.models.running("slow") == 1
        await until_idle(served, "slow")


async def test_a_message_is_counted_and_limited_as_a_chat_is(served: Service) -> None:
    _, secret = await served.keys.create("limited", KeyChanges(requests_per_minute=2, tokens_per_minute=10_000))
    async with client(served, secret) as api:
        raw = await api.messages.with_raw_response.create(model="guide", max_tokens=5, messages=SAID)
        assert raw.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert raw.headers["anthropic-ratelimit-requests-remaining"] == "1"
        reset = datetime.fromisoformat(raw.headers["anthropic-ratelimit-tokens-reset"])
        assert 0 <= (reset - datetime.now(reset.tzinfo)).total_seconds() <= 60
        await api.messages.count_tokens(model="guide", messages=SAID)
        await api.messages.create(model="guide", max_tokens=5, messages=SAID)
        with pytest.raises(anthropic.RateLimitError) as refused:
            await api.messages.create(model="guide", max_tokens=5, messages=SAID)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        await asyncio.sleep(0.2)
    used = await served.http.get("/v1/usage", headers={"authorization": f"Bearer {secret}"})
    assert used.json()["total"]["requests"] == 3, "one of them counts tokens"
    assert used.json()["total"]["prompt_tokens"] == 2 * 8
    assert used.json()["total"]["completion_tokens"] == 2 * 5


async def test_overload_is_what_the_sdk_calls_so() -> None:
    slow = ScriptedModel(id="slow", kind="scripted", tokens=100, token_ms=20)
    async with (
        running(slow, limits=Limits(max_concurrent_requests=1)) as service,
        client(service) as api,
        api.messages.stream(model="slow", max_tokens=90, messages=SAID) as stream,
    ):
        await anext(aiter(stream))
        with pytest.raises(anthropic.APIStatusError) as refused:
            await api.messages.create(model="slow", max_tokens=9, messages=SAID)
    body: Any = refused.value.body
    assert (refused.value.status_code, body["error"]["type"]) == (529, "overloaded_error")


async def test_messages_and_chats_share_the_cache_and_generations(served: Service) -> None:
    body = {"model": "guide", "max_tokens": 6, "messages": [{"role": "user", "content": "one two"}], "temperature": 0}
    chat = {**body, "max_completion_tokens": body["max_tokens"]}
    del chat["max_tokens"]
    whole = await served.http.post("/v1/chat/completions", json=chat)
    assert whole.headers["x-cache"] == "MISS"
    message = await served.http.post("/v1/messages", json=body)
    assert (message.headers["x-cache"], message.json()["content"][0]["text"]) == ("HIT", "one two " * 3)
    streamed = await served.http.post("/v1/messages", json={**body, "stream": True})
    assert streamed.headers["x-cache"] == "HIT"
    assert '"usage":{"input_tokens":2,' in streamed.text.partition("\n\n")[0], "the cache knows the prompt's length"


async def test_who_joins_a_generation_is_told_the_length_of_the_prompt(served: Service) -> None:
    body = {"model": "slow", "max_tokens": 20, "messages": [{"role": "user", "content": "one"}], "temperature": 0}

    async def first_event() -> tuple[str, int]:
        answer = await served.http.post("/v1/messages", json={**body, "stream": True})
        event = json.loads(answer.text.partition("\n\n")[0].partition("data: ")[2])
        return answer.headers["x-cache"], event["message"]["usage"]["input_tokens"]

    told = await asyncio.gather(first_event(), first_event())
    assert sorted(told) == [("JOIN", 1), ("MISS", 1)]


async def test_images_are_read_where_the_model_can_and_addresses_are_not_fetched(served: Service) -> None:
    def said(source: dict[str, str]) -> dict[str, Any]:
        content = [{"type": "image", "source": source}, {"type": "text", "text": "what is it"}]
        return {"model": "guide", "max_tokens": 20, "messages": [{"role": "user", "content": content}]}

    held = await served.http.post(
        "/v1/messages", json=said({"type": "base64", "media_type": "image/png", "data": PIXEL})
    )
    assert held.status_code == 200
    for source in ({"type": "url", "url": "http://127.0.0.1/x.png"}, {"type": "file", "file_id": "file_1"}):
        refused = await served.http.post("/v1/messages", json=said(source))
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_key_in_either_header_counts_and_the_beta_path_is_the_same(served: Service) -> None:
    secret = served.http.headers["authorization"].removeprefix("Bearer ")
    body = {"model": "guide", "max_tokens": 5, "messages": SAID}
    async with httpx.AsyncClient(base_url=served.url) as http:
        for headers in ({"x-api-key": secret}, {"authorization": f"Bearer {secret}"}):
            answer = await http.post("/v1/messages?beta=true", json=body, headers=headers)
            assert answer.status_code == 200
