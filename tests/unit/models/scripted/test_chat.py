import json
from typing import Any

import pytest

from deployments.errors import BadRequest
from deployments.models.assembly import assemble
from deployments.models.scripted.chat import choices, chunks

WEATHER = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
MAGIC = {"name": "magic_function", "parameters": {"type": "object", "properties": {"input": {"type": "integer"}}}}
NOTHING = {"name": "magic_function_no_args", "parameters": {"type": "object", "properties": {}}}


def request(text: str, *functions: dict[str, Any], **more: Any) -> dict[str, Any]:
    tools = {"tools": [{"type": "function", "function": function} for function in functions]} if functions else {}
    return {"messages": [{"role": "user", "content": text}], **tools, **more}


def answer(asked: dict[str, Any], tokens: int = 8) -> list[dict[str, Any]]:
    said = choices(asked, tokens)
    return assemble({"choices": [chunk]} for chunk in chunks(said, asked))["choices"]


def calls(asked: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    message = answer(asked)[0]["message"]
    made = [call["function"] for call in message.get("tool_calls", [])]
    return [(function["name"], json.loads(function["arguments"])) for function in made]


def test_a_tool_is_called_when_the_message_mentions_it() -> None:
    asked = request("What is the weather in San Francisco, CA?", WEATHER, MAGIC)
    assert calls(asked) == [("get_weather", {"location": "San Francisco"})]
    assert answer(asked)[0]["finish_reason"] == "tool_calls"
    assert calls(request("What is the value of magic_function(3)? Use the tool.", MAGIC)) == [
        ("magic_function", {"input": 3})
    ]
    assert calls(request("Hello, how are you?", WEATHER)) == []


def test_tool_choice_rules() -> None:
    both = "the weather and the magic_function"
    assert [name for name, _ in calls(request(both, WEATHER, MAGIC))] == ["get_weather", "magic_function"]
    assert [name for name, _ in calls(request(both, WEATHER, MAGIC, parallel_tool_calls=False))] == ["get_weather"]
    assert calls(request(both, WEATHER, tool_choice="none")) == []
    assert calls(request("Hello!", NOTHING, tool_choice="required")) == [("magic_function_no_args", {})]
    named = request("Hello!", WEATHER, MAGIC, tool_choice={"type": "function", "function": {"name": "magic_function"}})
    assert calls(named) == [("magic_function", {"input": 0})]
    assert answer(named)[0]["finish_reason"] == "stop"
    with pytest.raises(BadRequest):
        calls(request("Hello!", WEATHER, tool_choice={"type": "function", "function": {"name": "unknown"}}))


def test_a_tools_result_is_answered_with_text() -> None:
    asked = request("What is the weather in Rome?", WEATHER)
    first = answer(asked)[0]["message"]
    asked["messages"] += [first, {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "sunny"}]
    assert answer(asked, 2)[0]["message"]["content"] == "sunny sunny "


def test_calls_have_ids_of_their_own() -> None:
    asked = request("the weather and the magic_function", WEATHER, MAGIC, n=2)
    ids = [call["id"] for choice in answer(asked) for call in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 4
    assert answer(asked) == answer(asked)


def test_structured_answers() -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "name": {"type": "string"}}}
    fixed = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert _parsed(request("It is 'Ann'.", response_format=fixed)) == {"ok": True, "name": "Ann"}
    asked = request("A joke as JSON with 'setup' and 'punchline' keys.", response_format={"type": "json_object"})
    assert _parsed(asked).keys() == {"setup", "punchline"}
    assert answer(request("?", structured_outputs={"choice": ["yes", "no"]}))[0]["message"]["content"] == "yes"
    with pytest.raises(BadRequest):
        answer(request("?", structured_outputs={"regex": "a+"}))


def _parsed(asked: dict[str, Any]) -> dict[str, Any]:
    return json.loads(answer(asked)[0]["message"]["content"])


def test_stop_strings_end_the_text_before_them() -> None:
    choice = answer(request("one two three four", stop=["four", "o th"]))[0]
    assert choice["message"]["content"] == "one tw"
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "o th")


def test_several_choices_differ_and_come_in_turns() -> None:
    asked = request("one two three", n=3, max_tokens=2)
    assert [c["message"]["content"] for c in answer(asked)] == ["one two ", "two three ", "three one "]
    assert [chunk["index"] for chunk in chunks(choices(asked, 8), asked)] == [0, 1, 2] * 4


def test_the_length_is_limited_whatever_is_said() -> None:
    for more in ({"response_format": {"type": "json_object"}}, {}):
        choice = answer(request("'first' 'second' 'third'", max_completion_tokens=1, **more))[0]
        assert choice["finish_reason"] == "length"
    tool = answer(request("weather", WEATHER, max_completion_tokens=1))[0]
    assert (tool["finish_reason"], len(tool["message"]["tool_calls"])) == ("length", 1)


def test_logprobs_have_openais_shape() -> None:
    content = answer(request("one two", logprobs=True, top_logprobs=2), 3)[0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "one two one "
    assert [len(entry["top_logprobs"]) for entry in content] == [2, 2, 2]
    assert all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] < 0 for entry in content)
    assert bytes(content[0]["bytes"]).decode() == content[0]["token"]


def test_reasoning_is_said_apart_and_only_when_asked_for() -> None:
    asked = request("one", reasoning_effort="low")
    message = answer(asked, 1)[0]["message"]
    assert (message["reasoning"], message["content"]) == ("Let me repeat that.", "one ")
    assert choices(asked, 1)[0].reasoning_tokens == 4
    assert "reasoning" not in answer(request("one", reasoning_effort="none"))[0]["message"]


def test_parts_of_a_message_are_read_as_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "text"}]
    asked = {"messages": [{"role": "user", "content": parts}]}
    assert answer(asked, 1)[0]["message"]["content"] == "one "
