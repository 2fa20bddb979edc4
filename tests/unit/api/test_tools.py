"""Namespaces, custom tools and built-in tools of responses, with OpenAI's client at its strictest."""

from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PATCH = {"type": "custom", "name": "apply_change", "description": "Change a file."}
MAIL = {
    "type": "namespace",
    "name": "weather_app",
    "description": "Weather.",
    "tools": [{"type": "function", "name": "forecast", "parameters": CITY}, {**PATCH, "name": "report"}],
}
TOOLS: Any = [MAIL, PATCH, {"type": "web_search"}, {"type": "image_generation"}, {"type": "local_shell"}]


def client_of(service: Service) -> AsyncOpenAI:
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True)


async def asked(service: Service, text: str, stream: bool, **more: Any) -> tuple[Any, list[Any]]:
    """The response to a text, and its events if it was streamed."""
    async with client_of(service) as api:
        if not stream:
            return await api.responses.create(model="quick", input=text, tools=TOOLS, **more), []
        events = [e async for e in await api.responses.create(model="quick", input=text, tools=TOOLS, stream=True)]
        return events[-1].response, events


@pytest.mark.parametrize("stream", [False, True])
async def test_a_namespaces_function_is_called_by_its_own_name(service: Service, stream: bool) -> None:
    response, events = await asked(service, "What is the forecast for 'Bonn'?", stream)
    (call,) = response.output
    assert (call.type, call.namespace, call.name) == ("function_call", "weather_app", "forecast")
    assert call.arguments == '{"city":"Bonn"}'
    kinds = [event.type for event in events]
    assert not stream or "response.function_call_arguments.delta" in kinds


@pytest.mark.parametrize("stream", [False, True])
async def test_a_custom_tool_is_called_with_plain_text(service: Service, stream: bool) -> None:
    response, events = await asked(service, "Please apply_change 'a \\ b – c'", stream)
    (call,) = response.output
    assert (call.type, call.name, call.input) == ("custom_tool_call", "apply_change", "a \\ b – c")
    assert call.id.startswith("ctc_")
    if stream:
        deltas = [event for event in events if event.type == "response.custom_tool_call_input.delta"]
        assert len(deltas) > 1
        assert "".join(event.delta for event in deltas) == call.input
        (done,) = [event for event in events if event.type == "response.custom_tool_call_input.done"]
        assert (done.input, done.item_id) == (call.input, call.id)
        added, ended = (e.item for e in events if e.type.startswith("response.output_item."))
        assert (added.input, ended.input) == ("", call.input)


async def test_the_loop_goes_on_with_the_output_of_a_custom_tool() -> None:
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=4)) as service:
        first, _ = await asked(service, "Please report 'rain'", False)
        (call,) = first.output
        output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "it is filed"}
        second, _ = await asked(service, [output], False, previous_response_id=first.id)
        assert second.output_text == "it is filed it "
        history: Any = [
            {"role": "user", "content": "report"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {**call.model_dump(exclude_none=True), "id": None},
            output,
            {"type": "local_shell_call", "id": "l", "call_id": "c2", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "c2", "output": "README"},
            {"type": "shell_call_output", "call_id": "c3", "output": [{"stdout": "x", "stderr": ""}]},
        ]
        third, _ = await asked(service, history, False, store=True)
        assert third.output_text.startswith('[{"stdout":"x"')
        kept = (await service.http.get(f"/v1/responses/{third.id}/input_items?order=asc")).json()["data"]
        assert [item["type"] for item in kept] == [item.get("type", "message") for item in history]
        assert kept[2]["input"] == call.input
        assert kept[1]["action"] == {"type": "search"}


async def test_built_in_tools_that_are_offered_are_named_as_ignored(service: Service) -> None:
    for body in ({"input": "hello"}, {"input": "hello", "stream": True}, {"input": "hello", "background": True}):
        answer = await service.http.post("/v1/responses", json={"model": "quick", "tools": TOOLS, **body})
        assert answer.headers["x-chatllm-ignored"] == "web_search, image_generation, local_shell"
    compacting = {"input": "hello", "context_management": [{"type": "compaction", "compact_threshold": 1_000}]}
    answer = await service.http.post("/v1/responses", json=compacting)
    assert (answer.status_code, answer.headers["x-chatllm-ignored"]) == (200, "context_management")
    plain = await service.http.post("/v1/responses", json={"input": "hello", "tools": TOOLS[:2]})
    assert "x-chatllm-ignored" not in plain.headers
    assert [tool["type"] for tool in plain.json()["tools"]] == ["namespace", "custom"]


async def test_built_in_tools_that_are_forced_are_refused(service: Service) -> None:
    with pytest.raises(BadRequestError) as refused:
        await asked(service, "hello", False, tool_choice={"type": "image_generation"})
    assert refused.value.param == "tool_choice"


async def test_a_background_response_calls_custom_tools_too(service: Service) -> None:
    body = {"model": "quick", "input": "Please apply_change 'x y'", "tools": TOOLS, "background": True, "stream": True}
    text = (await service.http.post("/v1/responses", json=body)).text
    assert '"type":"response.custom_tool_call_input.done"' in text
    assert '"input":"x y"' in text
