"""`functions` and `function_call`, by OpenAI's own client: what was called before there were tools."""

from typing import Any

import openai
import pytest

from deployments.api.routes.functions import with_tools
from deployments.errors import BadRequest
from tests.unit.api.conftest import Service

WEATHER: Any = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
ASK: Any = [{"role": "user", "content": "what is the weather?"}]


def client(service: Service) -> openai.AsyncOpenAI:
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    return openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


async def test_a_function_is_called_and_its_result_read(service: Service) -> None:
    async with client(service) as api:
        answer = await api.chat.completions.create(model="quick", messages=ASK, functions=[WEATHER])
        [choice] = answer.choices
        call = choice.message.function_call
        assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
        assert call is not None and call.name == "weather"
        messages: Any = [
            *ASK,
            {"role": "assistant", "content": None, "function_call": call.model_dump()},
            {"role": "function", "name": "weather", "content": "sunny"},
        ]
        second = await api.chat.completions.create(model="quick", messages=messages, functions=[WEATHER])
    assert second.choices[0].finish_reason in ("stop", "length")
    assert "sunny" in (second.choices[0].message.content or "")


async def test_a_streamed_call_is_the_same(service: Service) -> None:
    async with client(service) as api:
        whole = await api.chat.completions.create(model="quick", messages=ASK, functions=[WEATHER])
        stream = await api.chat.completions.create(model="quick", messages=ASK, functions=[WEATHER], stream=True)
        chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    calls = [delta.function_call for delta in deltas if delta.function_call]
    expected = whole.choices[0].message.function_call
    assert expected is not None
    assert "".join(call.name or "" for call in calls) == expected.name
    assert "".join(call.arguments or "" for call in calls) == expected.arguments
    assert not any(delta.tool_calls for delta in deltas)
    assert chunks[-1].choices[0].finish_reason == "function_call"


async def test_a_named_function_is_called_and_none_is_not(service: Service) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    async with client(service) as api:
        forced = await api.chat.completions.create(
            model="quick", messages=hello, functions=[WEATHER], function_call={"name": "weather"}
        )
        free = await api.chat.completions.create(model="quick", messages=ASK, functions=[WEATHER], function_call="none")
    assert forced.choices[0].message.function_call and not free.choices[0].message.function_call


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [WEATHER], "tools": [{"type": "function", "function": WEATHER}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"functions": [{"name": "no name"}]}, "functions[0].name"),
        ({"functions": [WEATHER], "function_call": {"name": "other"}}, None),
        ({"messages": [*ASK, {"role": "assistant", "function_call": {"name": "f"}}]}, "messages[1].function_call"),
        ({"messages": [*ASK, {"role": "assistant", "function_call": "f"}]}, "messages[1].function_call"),
    ],
)
async def test_what_cannot_be_called_is_named(service: Service, fields: dict[str, Any], param: str | None) -> None:
    answer = await service.http.post("/v1/chat/completions", json={"model": "quick", "messages": ASK, **fields})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == (param or answer.json()["error"]["param"])


def test_each_result_answers_the_last_call_of_its_name() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": "{}"}}

    def result(name: str) -> dict[str, Any]:
        return {"role": "function", "name": name, "content": name}

    said = [*ASK, call("a"), result("a"), call("b"), result("b"), call("a"), result("a"), result("unknown")]
    messages = with_tools({"messages": said})["messages"]
    ids = [message["tool_calls"][0]["id"] for message in messages if message.get("tool_calls")]
    assert len(set(ids)) == 3
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == ids
    assert messages[-1] == result("unknown") and messages[0] == ASK[0]


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(BadRequest):
        with_tools({"messages": ASK, "functions": [WEATHER], "tool_choice": "auto"})
