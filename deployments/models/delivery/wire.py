"""How messages cross from a model replica to an ingress replica, and from one ingress replica to another.

Each is a frame (infra/transport/framing.py) whose channel is the stream of an answer. The body of a large reply
comes before it, in parts, between which other streams go on. A stream's name is random, so that nobody can
write into another's answer.

An ingress replica asks another one for an answer that is being generated there with a `Subscribe`, whose
stream names the generation (chat/peers.py); `Leave` takes that back.
"""

import struct
from dataclasses import dataclass

import msgspec

from deployments import errors
from deployments.errors import ChatLLMError
from deployments.infra.timing import EngineTimes
from deployments.infra.transport.framing import (
    FAILED,
    FRAMES,
    HANDED_OVER,
    LEAVE,
    PART,
    PROGRESS,
    REPLY,
    SUBSCRIBE,
    TOKEN_FRAMES,
    Frame,
)
from deployments.infra.transport.server import Address
from deployments.models.protocol import Failed, Frames, HandedOver, Message, Progress, Reply

TOKENS = struct.Struct(">QQ")
LENGTH = struct.Struct(">I")
MAX_MESSAGE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the messages of one stream go: the address of an ingress replica, and the stream's name."""

    address: Address
    stream: bytes


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for the messages of a generation, from its first on, at a stream of the sender's own."""

    to: Destination


@dataclass(frozen=True, slots=True)
class Leave:
    """Takes that back; identified by the sender's own stream."""

    stream: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the body of the `Reply` that follows: a large one leaves room for other streams between its parts."""

    data: bytes


Control = Subscribe | Leave
Crossing = Message | Progress | Part | HandedOver | Control


class _Reply(msgspec.Struct, array_like=True):
    body: bytes
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    times: EngineTimes | None
    may_be_kept: bool = True


class _Failure(msgspec.Struct, array_like=True):
    """An error of `errors.py`, by the name of its class."""

    name: str
    message: str
    param: str | None
    retry_after_s: float | None


def encode(message: Crossing) -> tuple[int, bytes]:
    """Return a message as the kind and payload of its frame."""
    match message:
        case Frames(data, tokens):
            return (FRAMES, data) if tokens is None else (TOKEN_FRAMES, LENGTH.pack(len(tokens)) + tokens + data)
        case Reply(body, prompt_tokens, completion_tokens, finish_reason, times, may_be_kept):
            reply = _Reply(body, prompt_tokens, completion_tokens, finish_reason, times, may_be_kept)
            return REPLY, msgspec.msgpack.encode(reply)
        case Failed(error):
            failure = _Failure(type(error).__name__, error.message, error.param, error.retry_after_s)
            return FAILED, msgspec.msgpack.encode(failure)
        case Progress(prompt_tokens, completion_tokens):
            return PROGRESS, TOKENS.pack(prompt_tokens, completion_tokens)
        case Part(data):
            return PART, data
        case HandedOver():
            return HANDED_OVER, b""
        case Subscribe(to):
            return SUBSCRIBE, msgspec.msgpack.encode(to)
        case Leave(left):
            return LEAVE, left


def decode(frame: Frame) -> Crossing:
    """Return the message of a frame; raises ValueError if it is not one."""
    _, kind, payload = frame
    if kind == TOKEN_FRAMES:
        return _token_frames(payload)
    if kind == FRAMES:
        return Frames(payload)
    if kind == REPLY:
        reply = msgspec.msgpack.decode(payload, type=_Reply)
        return Reply(
            reply.body,
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.finish_reason,
            reply.times,
            reply.may_be_kept,
        )
    if kind == FAILED:
        failure = msgspec.msgpack.decode(payload, type=_Failure)
        found = getattr(errors, failure.name, None)
        ours = found if isinstance(found, type) and issubclass(found, ChatLLMError) else ChatLLMError
        return Failed(ours(failure.message, failure.param, failure.retry_after_s))
    if kind == PROGRESS:
        return Progress(*TOKENS.unpack(payload))
    if kind == PART:
        return Part(payload)
    if kind == HANDED_OVER:
        return HandedOver()
    if kind == SUBSCRIBE:
        return Subscribe(msgspec.msgpack.decode(payload, type=Destination))
    if kind == LEAVE:
        return Leave(payload)
    raise ValueError(f"a message of the unknown kind {kind}")


def _token_frames(payload: bytes) -> Frames:
    start = LENGTH.size + int.from_bytes(payload[: LENGTH.size], "big")
    if len(payload) < start:
        raise ValueError("frames without their tokens")
    return Frames(payload[start:], payload[LENGTH.size : start])
