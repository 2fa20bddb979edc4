"""Whatever the chunks of a model look like, the events of a response follow OpenAI's order and add up."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from deployments.models.assembly import assemble
from deployments.responses.events import Translator, frame
from tests.budgets import examples

EVENT = TypeAdapter[Any](ResponseStreamEvent)
WORDS = st.text(min_size=1, max_size=8)
TOKEN = st.fixed_dictionaries(
    {"token": WORDS, "logprob": st.floats(-9, 0), "bytes": st.none(), "top_logprobs": st.just([])}
)


def chunk(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def call_chunk(index: int, arguments: str, is_first: bool) -> dict[str, Any]:
    head = {"id": f"call_{index}", "type": "function"} if is_first else {}
    name = {"name": f"function_{index}"} if is_first else {}
    return chunk({"tool_calls": [{"index": index, **head, "function": {**name, "arguments": arguments}}]})


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Text, reasoning and calls in any order and in pieces of any size, with empty deltas between them."""
    chunks = [chunk({"role": "assistant", "content": ""})]
    begun: set[int] = set()
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "call", "both", "nothing"]), max_size=12)):
        if kind == "text":
            tokens = draw(st.none() | st.fixed_dictionaries({"content": st.lists(TOKEN, max_size=2)}))
            chunks.append(chunk({"content": draw(WORDS)}, logprobs=tokens))
        elif kind == "reasoning":
            chunks.append(chunk({"reasoning": draw(WORDS)}))
        elif kind == "both":
            chunks.append(chunk({"reasoning": draw(WORDS), "content": draw(WORDS)}))
        elif kind == "call":
            index = draw(st.integers(0, len(begun)))
            chunks.append(call_chunk(index, draw(st.text(max_size=8)), index not in begun))
            begun.add(index)
        else:
            chunks.append(chunk({}))
    finish = draw(st.sampled_from(["stop", "length", "tool_calls"]))
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    return [*chunks, chunk({}, finish), {"choices": [], "usage": usage}]


def all_events(chunks: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Translator]:
    translator = Translator("resp_1")
    events = [translator.created({"id": "resp_1"}), translator.answering({"id": "resp_1"}, "MISS")]
    for each in chunks:
        events += translator.add(each)
    return events + translator.close(is_whole=translator.finish_reason != "length"), translator


@settings(max_examples=examples(150), deadline=None)
@given(streams())
def test_any_stream_becomes_a_legal_sequence_that_adds_up(chunks: list[dict[str, Any]]) -> None:
    events, translator = all_events(chunks)

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    state: dict[int, str] = {}
    texts: dict[int, str] = {}
    done: dict[int, dict[str, Any]] = {}
    for event in events[2:]:
        EVENT.validate_python(event, strict=False)
        at, kind = event["output_index"], event["type"].removeprefix("response.")
        match kind:
            case "output_item.added":
                assert at == len(state)
                state[at], texts[at] = "added", ""
                if event["item"]["type"] == "function_call":
                    state[at] = "open"
            case "content_part.added":
                assert state[at] == "added"
                state[at] = "open"
            case "output_text.delta" | "reasoning_text.delta" | "function_call_arguments.delta":
                assert state[at] == "open"
                texts[at] += event["delta"]
            case "output_text.done" | "reasoning_text.done" | "function_call_arguments.done":
                assert state[at] == "open"
                assert event.get("text", event.get("arguments")) == texts[at]
                state[at] = "done"
            case "content_part.done":
                assert state[at] == "done"
                assert event["part"]["text"] == texts[at]
            case "output_item.done":
                assert state[at] == "done"
                state[at], done[at] = "closed", event["item"]
            case other:
                raise AssertionError(other)
    assert set(state.values()) <= {"closed"}
    output = translator.output()
    assert list(output) == [done[at] for at in sorted(done)]
    assert len({item["id"] for item in output}) == len(output)

    message = assemble(chunks)["choices"][0]["message"]
    assert said(output, "message") == (message.get("content") or "")
    assert said(output, "reasoning") == (message.get("reasoning") or "")
    calls = [(c["call_id"], c["name"], c["arguments"]) for c in output if c["type"] == "function_call"]
    expected = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
    assert sorted(calls) == sorted(expected)


def said(output: tuple[dict[str, Any], ...], kind: str) -> str:
    return "".join(part["text"] for item in output if item["type"] == kind for part in item["content"])


@settings(max_examples=examples(50), deadline=None)
@given(streams())
def test_a_whole_answer_says_what_its_stream_does(chunks: list[dict[str, Any]]) -> None:
    _, streamed = all_events(chunks)
    whole = Translator("resp_1")
    whole.add_whole(assemble(chunks))
    whole.close(is_whole=True)

    for kind in ("message", "reasoning"):
        assert said(whole.output(), kind) == said(streamed.output(), kind)
    assert (whole.usage, whole.finish_reason) == (streamed.usage, streamed.finish_reason)


def test_an_empty_answer_is_an_empty_message() -> None:
    events, translator = all_events([chunk({"role": "assistant", "content": ""}), chunk({}, "stop")])
    (item,) = translator.output()
    assert item["content"][0]["text"] == ""
    assert [event["type"] for event in events[2:]] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]


def test_what_is_cut_off_is_incomplete_and_what_ended_before_is_not() -> None:
    _, translator = all_events([chunk({"reasoning": "hm"}), chunk({"content": "he"}), chunk({}, "length")])
    assert [item["status"] for item in translator.output()] == ["completed", "incomplete"]


def test_every_try_of_a_response_makes_the_same_ids() -> None:
    chunks = [chunk({"content": "a"}), call_chunk(0, "{}", True), chunk({}, "tool_calls")]
    first, second = all_events(chunks)[1].new_items("msg_0"), all_events(chunks)[1].new_items("msg_0")
    assert first == second
    assert [item.parent_id for item in first] == ["msg_0", first[0].id]
    other = Translator("resp_2")
    other.add(chunks[0])
    assert other.output()[0]["id"] != first[0].id


def test_a_frame_names_its_event() -> None:
    assert (
        frame({"type": "error", "sequence_number": 0})
        == b'event: error\ndata: {"type":"error","sequence_number":0}\n\n'
    )


def test_what_a_lost_run_has_said_is_recovered() -> None:
    lost = Translator("resp_1")
    chunks = [
        chunk({"reasoning": "hm"}),
        chunk({"content": "a\u2028b"}),
        call_chunk(0, "{", True),
        chunk({"content": "c"}),
    ]
    written = b"".join(frame(event) for each in chunks for event in lost.add(each))
    recovered = Translator("resp_1")
    recovered.recover(written)
    recovered.close(is_whole=False)
    said = [(item["type"], item["content"][0]["text"]) for item in recovered.output()]
    assert said == [("reasoning", "hm"), ("message", "a\u2028bc")]
