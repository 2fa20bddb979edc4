"""How messages cross from a model replica to an ingress replica, and from one ingress replica to another.

After the ingress's secret (introduction.py) a connection carries any number of

    length of the rest (4 bytes, big endian) · stream (16) · kind (1) · payload

The body of a large reply comes before it, in parts, between which other streams go on.
A stream's id is random, so that nobody can write into another's answer.

An ingress replica asks another one for an answer that is being generated there
with a `Subscribe`, whose stream names the flight (flights/neighbours.py); `Leave`
takes that back.
"""

import struct
from dataclasses import dataclass, field

import msgspec

from deployments import errors
from deployments.errors import ChatLLMError
from deployments.models.protocol import Failed, Frames, Message, Progress, Reply
from deployments.timing import EngineTimes

STREAM_BYTES = 16
LENGTH = struct.Struct(">I")
HEAD = struct.Struct(f">I{STREAM_BYTES}sB")
TOKENS = struct.Struct(">QQ")
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
FRAMES, REPLY, FAILED, SUBSCRIBE, LEAVE, PROGRESS, PART = range(7)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the messages of one stream go: the address and secret of an ingress replica, and the stream's id."""

    host: str
    port: int
    secret: bytes = field(repr=False)
    stream: bytes


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The wish for the messages of a flight, from its first on, at an inbox of one's own."""

    to: Destination


@dataclass(frozen=True, slots=True)
class Leave:
    """The end of that wish, named by the stream of the inbox."""

    stream: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the body of the `Reply` that follows: a large one leaves room for other streams between its parts."""

    data: bytes


Asked = Subscribe | Leave
Crossing = Message | Progress | Part | Asked


class _Reply(msgspec.Struct, array_like=True):
    body: bytes
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    times: EngineTimes | None


class _Failure(msgspec.Struct, array_like=True):
    """An error of `errors.py`, by the name of its class."""

    name: str
    message: str
    param: str | None
    retry_after_s: float | None


def encode(stream: bytes, message: Crossing) -> bytes:
    """Return one message as it crosses."""
    match message:
        case Frames(data):
            kind, payload = FRAMES, data
        case Reply(body, prompt_tokens, completion_tokens, finish_reason, times):
            kind = REPLY
            payload = msgspec.msgpack.encode(_Reply(body, prompt_tokens, completion_tokens, finish_reason, times))
        case Failed(error):
            kind = FAILED
            failure = _Failure(type(error).__name__, error.message, error.param, error.retry_after_s)
            payload = msgspec.msgpack.encode(failure)
        case Progress(prompt_tokens, completion_tokens):
            kind, payload = PROGRESS, TOKENS.pack(prompt_tokens, completion_tokens)
        case Part(data):
            kind, payload = PART, data
        case Subscribe(to):
            kind, payload = SUBSCRIBE, msgspec.msgpack.encode(to)
        case Leave(left):
            kind, payload = LEAVE, left
    return HEAD.pack(STREAM_BYTES + 1 + len(payload), stream, kind) + payload


def decode(buffer: bytearray) -> list[tuple[bytes, Crossing]]:
    """Take the whole messages off the front of `buffer`, each with its stream; raises ValueError for what is none."""
    found: list[tuple[bytes, Crossing]] = []
    at, end = 0, len(buffer)
    while end - at >= HEAD.size:
        length, stream, kind = HEAD.unpack_from(buffer, at)
        if not STREAM_BYTES < length <= MAX_MESSAGE_BYTES:
            raise ValueError("a message of an impossible length")
        following = at + LENGTH.size + length
        if following > end:
            break
        found.append((stream, _message(kind, bytes(buffer[at + HEAD.size : following]))))
        at = following
    del buffer[:at]
    return found


def _message(kind: int, payload: bytes) -> Crossing:
    if kind == FRAMES:
        return Frames(payload)
    if kind == REPLY:
        reply = msgspec.msgpack.decode(payload, type=_Reply)
        return Reply(reply.body, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason, reply.times)
    if kind == FAILED:
        failure = msgspec.msgpack.decode(payload, type=_Failure)
        found = getattr(errors, failure.name, None)
        ours = found if isinstance(found, type) and issubclass(found, ChatLLMError) else ChatLLMError
        return Failed(ours(failure.message, failure.param, failure.retry_after_s))
    if kind == PROGRESS:
        return Progress(*TOKENS.unpack(payload))
    if kind == PART:
        return Part(payload)
    if kind == SUBSCRIBE:
        return Subscribe(msgspec.msgpack.decode(payload, type=Destination))
    if kind == LEAVE:
        return Leave(payload)
    raise ValueError(f"a message of the unknown kind {kind}")
