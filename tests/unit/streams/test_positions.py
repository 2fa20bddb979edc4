"""Where a client is in a stream, also after the replica that sent it was lost and its last events with it."""

import random
from itertools import pairwise

import pytest

from deployments.errors import BadRequest, Unavailable
from deployments.models.assembly import DONE, assemble, payloads, sse
from deployments.streams.positions import GAP, Numbering, Position, Unseen, last_position, numbered_events, without_ids

TEXT = "Grüße, and ein 🙂 for everybody who reads this text to its end."


def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    return sse({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def pieces(drawn: random.Random) -> list[str]:
    cuts = sorted({0, len(TEXT), *(drawn.randrange(len(TEXT)) for _ in range(12))})
    return [TEXT[begin:end] for begin, end in pairwise(cuts)]


def answer(drawn: random.Random) -> list[bytes]:
    """Return the events of an answer, whose text is divided by chance."""
    texts = [chunk({"content": piece}) for piece in pieces(drawn)]
    return [chunk({"role": "assistant", "content": ""}), *texts, chunk({}, "stop"), DONE]


def text_of(frames: bytes) -> str:
    return assemble(payloads(without_ids(frames)))["choices"][0]["message"]["content"] or ""


def test_ids_count_events_and_letters() -> None:
    numbering = Numbering()
    frames = numbering.add(chunk({"role": "assistant"}) + chunk({"content": "né"}) + chunk({"reasoning": "a"}) + DONE)
    assert [(at.number, at.letters) for at, _ in numbered_events(frames)] == [(0, 0), (1, 2), (2, 3), (3, 3)]
    assert frames.startswith(b"id: 0-0\ndata: {") and frames.endswith(b"id: 3-3\ndata: [DONE]\n\n")
    assert last_position(frames) == Position(3, 3)


def test_letters_of_tool_calls_count() -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": '{"a"'}}
    assert last_position(Numbering().add(chunk({"tool_calls": [call]}))).letters == 5


@pytest.mark.parametrize("seed", range(20))
def test_the_rest_follows_what_was_seen(seed: int) -> None:
    drawn = random.Random(seed)
    numbering = Numbering()
    events = [numbering.add(event) for event in answer(drawn)]
    seen = drawn.randrange(len(events))
    unseen = Unseen(last_position(events[seen]))
    left = b"".join(unseen.rest(b"".join(events[at : at + 3])) for at in range(0, len(events), 3))
    assert left == b"".join(events[seen + 1 :])


@pytest.mark.parametrize("seed", range(40))
def test_what_a_lost_replica_sent_last_is_not_sent_again(seed: int) -> None:
    """The log has less than the client, and the rest of the text is divided in another way."""
    drawn = random.Random(seed)
    first = Numbering()
    events = [first.add(event) for event in answer(drawn)]
    logged = drawn.randrange(0, len(events) - 2)
    seen = drawn.randrange(logged, len(events) - 2)
    client = last_position(events[seen])
    log = b"".join(events[:logged])
    again = Numbering(*((last_position(log).number + 1, last_position(log).letters or 0) if log else (0, 0)))
    again.skip_gap()
    rest = TEXT[again.letters :]
    others = [chunk({"content": rest[at : at + 7]}) for at in range(0, len(rest), 7)]
    opening = [] if log else [chunk({"role": "assistant", "content": ""})]
    stream = log + again.add(b"".join([*opening, *others, chunk({}, "stop"), DONE]))
    left = Unseen(client).rest(stream)
    assert text_of(b"".join(events[: seen + 1])) + text_of(left) == TEXT
    assert left.endswith(b"data: [DONE]\n\n") and left.count(b'"stop"') == 1
    assert b'"role"' not in left
    assert last_position(left).number >= GAP


def test_a_bare_number_does_not_tell_where_a_lost_replica_was() -> None:
    numbering = Numbering()
    log = numbering.add(chunk({"content": "one "}))
    numbering.skip_gap()
    stream = log + numbering.add(chunk({"content": "two "}))
    assert Unseen(Position.parsed("0", "field")).rest(stream).count(b"two") == 1
    with pytest.raises(Unavailable, match="only the whole id"):
        Unseen(Position.parsed("3", "field")).rest(stream)


@pytest.mark.parametrize("text", ["", "x", "-1", "1-", "1-2-3", "²", "9" * 30, "1.5", "0" * 20 + "9" * 5000])
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Position.parsed(text, "starting_after")
