"""From chunks to Anthropic's events: whatever a parser does, blocks never overlap and nothing is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.messages.answer import message_of, tool_input
from deployments.messages.events import Translator
from deployments.models.assembly import assemble


def chunk(finish: str | None = None, usage: Any = None, stop: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "stop_reason": stop}
    return {"model": "m", "choices": [choice], **({"usage": usage} if usage else {})}


def call(index: int, arguments: str = "", name: str | None = None) -> dict[str, Any]:
    head = {"id": f"call_{index}", "type": "function"} if name else {}
    return {"index": index, **head, "function": {"arguments": arguments, **({"name": name} if name else {})}}


def told(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    translator = Translator("msg_1", "m", 100)
    events = translator.begin(7)
    for one in chunks:
        events.extend(translator.add(one))
    return [*events, *translator.close()]


def blocks_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the blocks together as a client does, and check that one is open at a time."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open and event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open and event["index"] == len(blocks) - 1
                delta, block = event["delta"], blocks[-1]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "input_json_delta":
                        block["json"] += delta["partial_json"]
                    case other:
                        pytest.fail(f"a delta of the type {other}")
            case "content_block_stop":
                assert is_open and event["index"] == len(blocks) - 1
                is_open = False
            case _:
                pass
    assert not is_open
    return blocks


def test_thinking_text_and_a_call_are_three_blocks() -> None:
    events = told(
        chunk(role="assistant", content=""),
        chunk(reasoning="Let me "),
        chunk(reasoning="see."),
        chunk(content="I will "),
        chunk(content="look."),
        chunk(tool_calls=[call(0, name="f")]),
        chunk(tool_calls=[call(0, '{"a"')]),
        chunk(tool_calls=[call(0, ":1}")]),
        chunk("tool_calls", {"prompt_tokens": 7, "completion_tokens": 9}),
    )
    thinking, text, use = blocks_of(events)
    assert (thinking["thinking"], text["text"]) == ("Let me see.", "I will look.")
    assert thinking["signature"]
    assert (use["id"], use["name"], json.loads(use["json"])) == ("call_0", "f", {"a": 1})
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 9
    assert events[-1] == {"type": "message_stop"}


def test_calls_whose_arguments_come_in_turns_do_not_mix() -> None:
    events = told(
        chunk(tool_calls=[call(0, name="f"), call(1, name="g")]),
        chunk(tool_calls=[call(0, '{"a":')]),
        chunk(tool_calls=[call(1, '{"b":')]),
        chunk(tool_calls=[call(0, "1}")]),
        chunk(tool_calls=[call(1, "2}")]),
        chunk("tool_calls"),
    )
    assert [(block["name"], json.loads(block["json"])) for block in blocks_of(events)] == [
        ("f", {"a": 1}),
        ("g", {"b": 2}),
    ]


def test_a_second_call_streams_as_soon_as_the_first_is_whole() -> None:
    translator = Translator("msg_1", "m", 100)
    list(translator.add(chunk(tool_calls=[call(0, "{}", name="f")])))
    events = list(translator.add(chunk(tool_calls=[call(1, '{"b"', name="g")])))
    assert [event["type"] for event in events] == ["content_block_stop", "content_block_start", "content_block_delta"]


def test_text_after_a_call_is_a_block_of_its_own() -> None:
    events = told(chunk(content="a"), chunk(tool_calls=[call(0, "{}", name="f")]), chunk(content="b"), chunk("stop"))
    assert [block["type"] for block in blocks_of(events)] == ["text", "tool_use", "text"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("finish", "stop", "tokens", "reason", "sequence"),
    [
        ("stop", None, 5, "end_turn", None),
        ("stop", "END", 5, "stop_sequence", "END"),
        ("stop", 128009, 5, "end_turn", None),
        ("length", None, 100, "max_tokens", None),
        ("length", None, 5, "model_context_window_exceeded", None),
        ("content_filter", None, 5, "refusal", None),
    ],
)
def test_why_it_ends(finish: str, stop: Any, tokens: int, reason: str, sequence: str | None) -> None:
    events = told(chunk(content="x"), chunk(finish, {"prompt_tokens": 1, "completion_tokens": tokens}, stop))
    assert events[-2]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_an_answer_that_says_nothing_has_no_blocks() -> None:
    events = told(chunk(role="assistant", content=""), chunk("stop"))
    assert [event["type"] for event in events] == ["message_start", "ping", "message_delta", "message_stop"]


def test_what_was_cached_is_told_apart() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    counted = told(chunk("stop", usage))[-2]["usage"]
    assert (counted["input_tokens"], counted["cache_read_input_tokens"]) == (2, 8)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("", {}), ('{"a": 1}', {"a": 1}), ('{"a": "cut o', {"a": "cut o"}), ("[1]", {}), ("no json", {}), ("NaN", {})],
)
def test_arguments_that_were_cut_off_go_as_far_as_they_go(arguments: str, expected: dict[str, Any]) -> None:
    assert tool_input(arguments) == expected


pieces = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(max_size=5)),
    st.builds(lambda text: {"reasoning": text}, st.text(max_size=5)),
    st.builds(lambda at, text: {"tool_calls": [call(at, text)]}, st.integers(0, 3), st.text('{}":a1', max_size=4)),
)


@given(st.lists(pieces, max_size=12))
def test_any_sequence_gives_whole_blocks_that_say_what_the_whole_answer_says(deltas: list[dict[str, Any]]) -> None:
    opened: set[int] = set()
    chunks: list[dict[str, Any]] = []
    for delta in deltas:
        for one in delta.get("tool_calls", ()):
            if one["index"] not in opened:
                opened.add(one["index"])
                chunks.append(chunk(tool_calls=[call(one["index"], name=f"f{one['index']}")]))
        chunks.append(chunk(**delta))
    blocks = blocks_of(told(*chunks, chunk("stop")))
    whole = message_of(assemble(chunks), "msg_1", 100)
    for kind in ("text", "thinking"):
        said = "".join(block[kind] for block in blocks if block["type"] == kind)
        assert said == "".join(block[kind] for block in whole["content"] if block["type"] == kind)
    uses = [block for block in blocks if block["type"] == "tool_use"]
    assert {block["name"] for block in uses} == {f"f{at}" for at in opened}
