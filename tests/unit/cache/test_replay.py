import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cache.entry import CacheEntry
from deployments.cache.replay import frames_of, fresh_body, fresh_frames, usage_frame

OLD, NEW = "chatcmpl-old", "chatcmpl-new"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def body_of(message: dict, spaced: bool = False, **choice) -> bytes:
    reply = {
        "id": OLD,
        "object": "chat.completion",
        "created": 100,
        "model": "guide",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop", **choice}],
        "usage": USAGE,
    }
    return json.dumps(reply, separators=(", ", ": ") if spaced else (",", ":")).encode()


def frames_saying(*texts: str, spaced: bool = False) -> bytes:
    head = {"id": OLD, "object": "chat.completion.chunk", "created": 100, "model": "guide"}
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
    events = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    separators = (", ", ": ") if spaced else (",", ":")
    return b"".join(b"data: " + json.dumps(event, separators=separators).encode() + b"\n\n" for event in events)


def events_of(frames: bytes) -> list[dict]:
    assert frames.endswith(b"\n\n")
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames.split(b"\n\n")[:-1]]


# A model may say anything, also what looks like the fields that are replaced.
TEXTS = st.lists(st.text() | st.sampled_from([f'"id":"{OLD}",', '"created":100,', "\n\ndata: {", OLD]), max_size=5)


@given(TEXTS, st.booleans())
def test_a_replayed_stream_is_the_original_under_a_new_id(texts, spaced):
    frames = frames_saying(*texts, spaced=spaced)
    entry = CacheEntry(body_of({"content": "".join(texts)}, spaced), frames, 100.0)
    fresh = fresh_frames(entry, NEW, 200, include_usage=False)
    assert events_of(fresh) == [event | {"id": NEW, "created": 200} for event in events_of(frames)]


@given(TEXTS, st.booleans())
def test_a_replayed_answer_is_the_original_under_a_new_id(texts, spaced):
    body = body_of({"content": "".join(texts)}, spaced)
    fresh = fresh_body(CacheEntry(body, b"", 100.0), NEW, 200)
    assert json.loads(fresh) == json.loads(body) | {"id": NEW, "created": 200}


@pytest.mark.parametrize("asked_first", [True, False])
def test_usage_is_sent_to_who_asks_for_it(asked_first):
    frames, body = frames_saying("Hi"), body_of({"content": "Hi"})
    entry = CacheEntry(body, frames + usage_frame(body) if asked_first else frames, 100.0)
    without = events_of(fresh_frames(entry, NEW, 200, include_usage=False))
    with_usage = events_of(fresh_frames(entry, NEW, 200, include_usage=True))
    assert with_usage[:-1] == without
    assert all("usage" not in event for event in without)
    assert (with_usage[-1]["choices"], with_usage[-1]["usage"], with_usage[-1]["id"]) == ([], USAGE, NEW)


def merged(frames: bytes) -> list[dict]:
    """Put the deltas of each choice together, as a client does."""
    choices: dict[int, dict] = {}
    for event in events_of(frames):
        assert event["object"] == "chat.completion.chunk"
        for part in event["choices"]:
            choice = choices.setdefault(part["index"], {"index": part["index"], "message": {}})
            for name, value in part["delta"].items():
                if name == "tool_calls":
                    calls = [{k: v for k, v in call.items() if k != "index"} for call in value]
                    choice["message"].setdefault("tool_calls", []).extend(calls)
                else:
                    choice["message"][name] = choice["message"].get(name, "") + value
            choice |= {k: v for k, v in part.items() if k not in ("index", "delta") and v is not None}
    return [choices[index] for index in sorted(choices)]


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"town":"Bonn"}'}}


@pytest.mark.parametrize(
    ("message", "choice"),
    [
        ({"content": "Hello"}, {}),
        ({"content": ""}, {}),
        ({"content": "Hello", "reasoning": "A greeting."}, {"stop_reason": "###"}),
        ({"content": "", "tool_calls": [CALL, CALL | {"id": "call_2"}]}, {"finish_reason": "tool_calls"}),
        ({"content": "Hello"}, {"logprobs": {"content": [{"token": "Hello", "logprob": -0.1}]}}),
        ({"content": "", "refusal": "No."}, {"finish_reason": "length"}),
    ],
)
def test_a_plain_answer_becomes_a_stream_that_says_the_same(message, choice):
    body = body_of(message, **choice)
    assert merged(frames_of(body)) == json.loads(body)["choices"]


def test_a_stream_opens_with_the_role_and_ends_with_the_reason():
    events = [event["choices"][0] for event in events_of(frames_of(body_of({"content": "Hello"})))]
    assert events[0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["finish_reason"] for event in events] == [None, None, "stop"]


def test_what_belongs_to_the_whole_answer_stands_where_vllm_puts_it():
    body = json.dumps(json.loads(body_of({"content": "Hi"})) | {"system_fingerprint": "v", "prompt_token_ids": [1]})
    events = events_of(frames_of(body.encode()))
    assert [event.get("prompt_token_ids") for event in events] == [[1], None, None]
    assert [event.get("system_fingerprint") for event in events] == [None, None, "v"]


def test_several_choices_become_one_stream():
    reply = json.loads(body_of({"content": "one"}))
    reply["choices"].append({"index": 1, "message": {"role": "assistant", "content": "two"}, "finish_reason": "length"})
    assert merged(frames_of(json.dumps(reply).encode())) == reply["choices"]


def test_an_entry_without_frames_streams_under_the_new_id():
    entry = CacheEntry(body_of({"content": "Hello"}), b"", 100.0)
    fresh = fresh_frames(entry, NEW, 200, include_usage=True)
    assert {(event["id"], event["created"]) for event in events_of(fresh)} == {(NEW, 200)}
    assert merged(fresh) == json.loads(entry.body)["choices"]
