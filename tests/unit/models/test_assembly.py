"""A streamed answer, put together, says what the plain one would have said."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.models.assembly import DONE, assemble, is_usage_event, payloads, sse

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def chunk(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason, **more}]}


@given(st.lists(st.text(), max_size=8))
def test_texts_are_joined_whatever_they_hold(texts: list[str]) -> None:
    chunks = [chunk({"role": "assistant", "content": ""}), *[chunk({"content": text}) for text in texts]]
    frames = b"".join(map(sse, [*chunks, chunk({}, "stop")])) + DONE
    completion = assemble(payloads(frames))
    assert completion["choices"][0]["message"] == {"role": "assistant", "content": "".join(texts)}
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["object"] == "chat.completion"
    assert completion["id"] == "chatcmpl-1"


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    pieces = [
        {
            "tool_calls": [
                {"index": 0, "id": "call_a", "type": "function", "function": {"name": "get", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
        {"tool_calls": [{"index": 1, "id": "call_b", "function": {"name": "put", "arguments": "{}"}}]},
    ]
    message = assemble([*map(chunk, pieces), chunk({}, "tool_calls")])["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "get", "arguments": '{"city":"Rome"}'}},
        {"id": "call_b", "type": "function", "function": {"name": "put", "arguments": "{}"}},
    ]


def test_choices_reasoning_logprobs_and_usage_keep_apart() -> None:
    completion = assemble(
        [
            chunk({"reasoning": "hm"}, logprobs={"content": [{"token": "a"}]}, token_ids=[1]),
            chunk({"content": "B"}, index=1),
            chunk({"reasoning": "m"}, "stop", logprobs={"content": [{"token": "b"}]}, token_ids=[2, 3]),
            {**HEAD, "choices": [], "usage": {"total_tokens": 3}},
        ]
    )
    first, second = completion["choices"]
    assert first["message"]["reasoning"] == "hmm"
    assert first["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}
    assert first["token_ids"] == [1, 2, 3]
    assert second["message"]["content"] == "B"
    assert completion["usage"] == {"total_tokens": 3}


def test_only_the_closing_event_is_the_usage_event() -> None:
    assert is_usage_event(sse({**HEAD, "choices": [], "usage": {}}))
    assert not is_usage_event(sse(chunk({"content": '"choices":[]'})))
