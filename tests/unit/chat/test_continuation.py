"""An answer that goes on elsewhere: whatever had been sent, the whole is the same, or it fails."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from deployments.chat.continuation import Continuation
from deployments.config import ScriptedModel
from deployments.errors import Unavailable
from deployments.models.assembly import assemble, payloads, sse
from deployments.models.protocol import Failed, Frames, ModelRequest, Reply
from deployments.models.scripted.replica import ScriptedReplica

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def generated(request: dict[str, Any], request_id: str = "one") -> tuple[list[bytes], Reply]:
    replica = ScriptedReplica(ScriptedModel(id="m", kind="scripted", tokens=12))
    endpoint = "chat" if "messages" in request else "completion"
    messages = replica.generate(ModelRequest(request_id, orjson.dumps(request), True, False, endpoint))
    events, reply = [], None
    async for message in messages:
        if isinstance(message, Frames):
            events.append(message.data)
        else:
            reply = message
    assert isinstance(reply, Reply)
    return events, reply


def continued(sent: bytes, again: Iterable[bytes]) -> bytes:
    continuation = Continuation(sent)
    rests = [continuation.rest(Frames(event)) for event in again]
    assert not any(isinstance(rest, Failed) for rest in rests)
    return b"".join(rest.data for rest in rests if isinstance(rest, Frames))


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


REQUESTS = [
    chat("one two three"),
    chat("several", n=3),
    chat("counted", logprobs=True, top_logprobs=2),
    chat("call weather please", tools=[TOOL]),
    {"model": "m", "prompt": "once upon", "max_tokens": 12},
    {"model": "m", "prompt": ["once", "twice"], "max_tokens": 12, "logprobs": 1},
]


def test_tokens_without_text_keep_their_log_probabilities() -> None:
    """A character can take several tokens: the text comes with the last of them."""
    parts = [("a", [1]), ("", [2]), ("", [3]), ("\U0001f600", [4]), ("", [5])]
    events = [
        sse({"choices": [{"index": 0, "delta": {"content": text}, "token_ids": ids, "finish_reason": None}]})
        for text, ids in parts
    ]
    for cut in range(1, len(events) + 1):
        sent = b"".join(events[:cut])
        assert assemble(payloads(sent + continued(sent, events)))["choices"][0]["token_ids"] == [1, 2, 3, 4, 5]


async def test_cut_anywhere_it_becomes_the_same_answer() -> None:
    for request in REQUESTS:
        events, reply = await generated(request)
        again, again_reply = await generated(request, "two")
        for cut in range(1, len(events) + 1):
            sent = b"".join(events[:cut])
            whole = payloads(sent + continued(sent, again))
            assert assemble(whole)["choices"] == assemble(payloads(b"".join(events)))["choices"], (request, cut)
            assert {event["id"] for event in whole} == {orjson.loads(reply.body)["id"]}
            end = Continuation(sent)
            for event in again:
                end.rest(Frames(event))
            ended = end.rest(again_reply)
            assert isinstance(ended, Reply)
            assert orjson.loads(ended.body)["id"] == orjson.loads(reply.body)["id"]


def event(text: str, finish: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    return sse({"id": "x", "created": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


@given(st.text(min_size=1, max_size=30), st.data())
def test_other_pieces_of_the_same_text_are_the_same_text(text: str, data: st.DataObject) -> None:
    """A replica under another load sends larger or smaller pieces."""

    def cut() -> list[bytes]:
        at = sorted(data.draw(st.sets(st.integers(1, len(text)), max_size=5)) | {0, len(text)})
        return [event(text[a:b]) for a, b in pairwise(at)]

    first, again = cut(), [*cut(), event("", "stop")]
    sent = b"".join(first[: data.draw(st.integers(1, len(first)))])
    whole = assemble(payloads(sent + continued(sent, again)))
    assert whole["choices"][0]["message"]["content"] == text
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_another_text_is_a_failure_and_sends_nothing() -> None:
    continuation = Continuation(event("the cat "))
    assert continuation.rest(Frames(event("the "))) is None
    ended = continuation.rest(Frames(event("dog")))
    assert isinstance(ended, Failed)
    assert isinstance(ended.error, Unavailable)


def test_a_shorter_answer_is_a_failure() -> None:
    continuation = Continuation(event("the cat sat"))
    assert continuation.rest(Frames(event("the cat"))) is None
    assert isinstance(continuation.rest(Frames(event("", "stop"))), Failed)
    assert isinstance(Continuation(event("the cat")).rest(Reply(b"{}", 1, 1, "stop")), Failed)


def test_a_failure_stays_one() -> None:
    failed = Failed(Unavailable())
    assert Continuation(event("a")).rest(failed) is failed
