"""What a request for a response asks of a model."""

import asyncio
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from openai.types.responses import ResponseIncludable
from openai.types.responses.response_create_params import ResponseCreateParamsBase, ResponseCreateParamsNonStreaming

from deployments.chat.parameters import HINTS
from deployments.errors import BadRequest
from deployments.history.types import Context, Cut, Item, NewItem
from deployments.responses.request import INCLUDABLE, REFUSED, ResponseCall, ResponseRequest, read_call
from deployments.responses.turn import Place, messages_for

SCHEMA = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("add", "weather")]


def chat(**more: Any) -> dict[str, Any]:
    return read_call({"input": "hello", **more}, 10).chat


def messages(given: Any, **more: Any) -> list[dict[str, Any]]:
    wanted = read_call({"input": given, **more}, 10)
    return asyncio.run(messages_for(wanted.request, Place("conv_1", True, True, Context((), None)), new(wanted)))


def new(wanted: ResponseCall) -> list[NewItem]:
    return [item for item in wanted.input if isinstance(item, NewItem)]


def test_parameters_become_those_of_a_chat_completion() -> None:
    assert chat(max_output_tokens=5, temperature=0, top_p=0.5, seed=1, user="u", store=True, service_tier="auto") == {
        "max_completion_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "seed": 1,
    }
    assert chat(reasoning={"effort": "low", "summary": "auto"}) == {"reasoning_effort": "low"}
    assert chat(top_logprobs=2) == {"logprobs": True, "top_logprobs": 2}
    assert chat(include=["message.output_text.logprobs"]) == {"logprobs": True, "top_logprobs": 0}


def test_formats() -> None:
    assert chat(text={"format": {"type": "text"}}) == {}
    assert chat(text={"format": {"type": "json_object"}}) == {"response_format": {"type": "json_object"}}
    schema = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    assert chat(text={"format": schema}) == {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    }


def test_tools_and_their_choice() -> None:
    fields = chat(tools=TOOLS, tool_choice={"type": "function", "name": "add"}, parallel_tool_calls=False)
    assert [tool["function"]["name"] for tool in fields["tools"]] == ["add", "weather"]
    assert fields["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert fields["parallel_tool_calls"] is False
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    fields = chat(tools=TOOLS, tool_choice=allowed)
    assert [tool["function"]["name"] for tool in fields["tools"]] == ["weather"]
    assert fields["tool_choice"] == "required"
    assert chat(tools=[], tool_choice="auto") == {}


def test_items_become_messages() -> None:
    given = [
        {"role": "developer", "content": "rules"},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "u"}],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "calling"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
    ]
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "add", "arguments": "{}"}} for n in (1, 2)]
    assert messages(given, instructions="be brief") == [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": "rules"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "u", "detail": "auto"}},
            ],
        },
        {"role": "assistant", "content": "calling", "reasoning": "hm", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "2"},
    ]


def test_input_gets_ids_of_its_own_and_stands_after_what_was_said() -> None:
    item = {"type": "message", "id": "msg_of_another", "role": "user", "content": "x"}
    wanted = read_call({"input": [item, item]}, 10)
    first, second = Place("conv_1", False, True, Context((), "msg_leaf")).chained(new(wanted))
    assert "msg_of_another" not in (first.id, second.id)
    assert (first.parent_id, second.parent_id) == ("msg_leaf", first.id)


def test_reasoning_alone_is_no_message() -> None:
    assert messages([{"type": "reasoning", "summary": []}, {"role": "user", "content": "x"}]) == [
        {"role": "user", "content": "x"}
    ]


def test_the_output_of_a_call_that_was_left_out_is_left_out() -> None:
    now = datetime.now(UTC)
    output = Item("fco_1", "conv_1", "fc_1", "function_call_output", None, "completed", {"output": "1"}, now)
    said = Item("msg_1", "conv_1", "fco_1", "message", "user", "completed", NewItem.message("user", "y").payload, now)
    context = Context((output, said), "msg_1", Cut("fc_1", 100))
    found = asyncio.run(messages_for({}, Place("conv_1", False, True, context), [NewItem.message("user", "x")]))
    assert [message["content"] for message in found] == ["y", "x"]


def test_every_parameter_of_the_sdk_is_decided_on() -> None:
    known = {*ResponseRequest.__struct_fields__, *REFUSED, *HINTS}
    names = {*ResponseCreateParamsNonStreaming.__annotations__, *ResponseCreateParamsBase.__annotations__}
    assert names - known == set()
    assert not REFUSED.keys() & {*ResponseRequest.__struct_fields__}


def test_all_that_openai_lets_a_client_include_is_accepted() -> None:
    assert set(get_args(ResponseIncludable)) == INCLUDABLE
    assert chat(include=sorted(INCLUDABLE - {"message.output_text.logprobs"})) == {}
    with pytest.raises(BadRequest, match="nothing_like_this"):
        chat(include=["nothing_like_this"])
