"""The ids of a resumable stream's events, and what of the stream a client has not seen.

An id is `<number>-<letters>`: how many events came before, and how long the text is with this one. Where the replica
that generated the stream was lost, what it had sent last is in no log: the numbers go on after a gap, and what a client
has of the text decides. How a text is divided into events is not the same each time that it is generated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from deployments.errors import BadRequest, Unavailable
from deployments.models.assembly import DATA, DONE, sse

EVENT_END = b"\n\n"
ID = b"id: "
GAP = 1_000_000
"""Numbers left free for events that a lost replica has sent and not kept: what follows comes after them."""
MAX_DIGITS = 16
TEXTS = ("content", "reasoning", "reasoning_content", "refusal")


@dataclass(frozen=True, slots=True)
class Position:
    """The last event that a client has seen; `letters` is None where it only counted events, `number` -1 for none."""

    number: int = -1
    letters: int | None = 0

    @classmethod
    def parsed(cls, text: str, field: str) -> "Position":
        """Return what an id says, or a bare number; raises BadRequest for anything else."""
        number, dash, letters = text.strip().partition("-")
        given = (number, letters) if dash else (number,)
        if not all(part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS for part in given):
            raise BadRequest(f"'{field}' must be the id of an event of this stream.", field)
        return cls(int(number), int(letters) if dash else None)


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Event).decode


class Numbering:
    """Gives each event of a stream its id."""

    def __init__(self, number: int = 0, letters: int = 0) -> None:
        """`number` is that of the next event, `letters` the length of the text before it."""
        self.number = number
        self.letters = letters

    def add(self, frames: bytes) -> bytes:
        """Return complete events with their ids."""
        if frames.find(EVENT_END) == len(frames) - len(EVENT_END):
            return self._one(frames[: -len(EVENT_END)])
        return b"".join([self._one(event) for event in frames.removesuffix(EVENT_END).split(EVENT_END)])

    def _one(self, event: bytes) -> bytes:
        self.letters += letters_in(event)
        numbered = b"id: %d-%d\n%b\n\n" % (self.number, self.letters, event)
        self.number += 1
        return numbered

    def skip_gap(self, losses: int = 1) -> None:
        """Leave numbers free for events that nobody knows any more, of so many lost replicas."""
        self.number += GAP * losses


def letters_in(event: bytes) -> int:
    """Return the length of the text in one event without its id, over all fields and choices."""
    try:
        choices = _decode(event[len(DATA) :]).choices
    except msgspec.MsgspecError:
        return 0  # `[DONE]`, or an error
    letters = 0
    for choice in choices:
        if choice.text:
            letters += len(choice.text)
        if choice.delta is not None:
            letters += len(choice.delta.content or "") + _other_letters(choice.delta)
    return letters


def _other_letters(delta: _Delta) -> int:
    # This runs for every token of every resumable stream: most deltas have nothing but a content.
    letters = 0
    for text in (delta.reasoning, delta.reasoning_content, delta.refusal):
        if text:
            letters += len(text)
    if delta.tool_calls or delta.function_call:
        functions = [call.function for call in delta.tool_calls or ()] + [delta.function_call]
        letters += sum(len(each.name or "") + len(each.arguments or "") for each in functions if each)
    return letters


def numbered_events(frames: bytes) -> Iterator[tuple[Position, bytes]]:
    """Yield the position of each event, and the event without its id."""
    for event in frames.removesuffix(EVENT_END).split(EVENT_END):
        id_, _, rest = event.partition(b"\n")
        number, _, letters = id_.removeprefix(ID).partition(b"-")
        yield Position(int(number), int(letters)), rest


def last_position(frames: bytes) -> Position:
    """Return the position of the last of numbered events."""
    start = frames.rfind(EVENT_END, 0, -len(EVENT_END))
    return next(numbered_events(frames[start + len(EVENT_END) if start >= 0 else 0 :]))[0]


def without_ids(frames: bytes) -> bytes:
    """Return numbered events without their ids."""
    return b"".join(event + EVENT_END for _, event in numbered_events(frames))


class Unseen:
    """What of a stream's numbered events a client has not seen; they must come from the first on."""

    def __init__(self, after: Position) -> None:
        self._after = after
        self._before = Position()
        self._is_past = after.number < 0

    def rest(self, frames: bytes) -> bytes:
        """Return what is new of the next events; raises Unavailable where that cannot be told."""
        if self._is_past:
            return frames
        rest: list[bytes] = []
        for position, event in numbered_events(frames):
            rest.append(self._unseen(position, event))
            self._before = position
        return b"".join(rest)

    def restart(self, sent: Position) -> None:
        """Begin again with the first event, for a client that has seen those up to `sent`."""
        self._after, self._before, self._is_past = sent, Position(), sent.number < 0

    def _unseen(self, position: Position, event: bytes) -> bytes:
        after, before = self._after, self._before
        if self._is_past:
            return _numbered(position, event)
        if position.number <= after.number:
            return b""
        if before.number == after.number:
            self._is_past = True
            return _numbered(position, event)
        # The client's last event is in the gap: its text was generated again, perhaps in other pieces.
        if after.letters is None:
            raise Unavailable("The replica that sent this event was lost; only the whole id of the event tells where.")
        seen = after.letters - (before.letters or 0)
        length = (position.letters or 0) - (before.letters or 0)
        if not length:
            return b"" if _is_opening(event) else _numbered(position, event)
        if seen >= length:
            return b""
        self._is_past = True
        return _numbered(position, _cut(event, seen) if seen > 0 else event)


def _numbered(position: Position, event: bytes) -> bytes:
    return b"id: %d-%d\n%b\n\n" % (position.number, position.letters, event)


def _is_opening(event: bytes) -> bool:
    """Whether an event without a text only says that a choice has begun, or nothing at all."""
    if event + EVENT_END == DONE:
        return False
    choices = orjson.loads(event.removeprefix(DATA)).get("choices")
    return bool(choices) and not any(choice.get("finish_reason") for choice in choices)


def _cut(event: bytes, seen: int) -> bytes:
    """Return an event without the first `seen` letters of its text."""
    payload: dict[str, Any] = orjson.loads(event.removeprefix(DATA))
    for choice in payload["choices"]:
        delta = choice.get("delta")
        holders = [choice] if delta is None else [delta, *(call.get("function", {}) for call in _calls(delta))]
        for holder in holders:
            for name in ("text", *TEXTS, "name", "arguments"):
                if isinstance(text := holder.get(name), str):
                    holder[name], seen = text[seen:], max(0, seen - len(text))
    return sse(payload).removesuffix(EVENT_END)


def _calls(delta: dict[str, Any]) -> list[dict[str, Any]]:
    legacy = [{"function": delta["function_call"]}] if delta.get("function_call") else []
    return [*(delta.get("tool_calls") or ()), *legacy]
