"""How look-ups cross from an ingress replica to a replica of the cache deployment, and their results back.

Each is a frame (infra/transport/framing.py) whose channel is the number of the look-up. A result bears the number
of its look-up; results come in any order.
"""

from collections.abc import Sequence

import msgspec

from deployments.cache.claims import Claim
from deployments.cache.remote import LookupReply
from deployments.infra.transport.framing import CHANNEL_BYTES, LOOKUP, LOOKUP_REPLY, Frame

MAX_LOOKUP_BYTES = 4 * 1024 * 1024
MAX_REPLY_BYTES = 1024 * 1024 * 1024
"""Many keys are looked up at once, and each answer may be large."""


class Lookup(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `RemoteCache.lookup`."""

    keys: list[str]
    claims: list[Claim | None]


class _Reply(msgspec.Struct, array_like=True):
    values: list[bytes | None]
    failure: str
    owners: list[bytes]
    version: str


def channel(number: int) -> bytes:
    """Return the channel of a look-up."""
    return number.to_bytes(CHANNEL_BYTES)


def number_of(frame: Frame) -> int:
    """Return the number of the look-up that a frame belongs to."""
    return int.from_bytes(frame.channel)


def encode_lookup(keys: Sequence[str], claims: Sequence[Claim | None]) -> tuple[int, bytes]:
    """Return a look-up as the kind and payload of its frame."""
    return LOOKUP, msgspec.msgpack.encode(Lookup(list(keys), list(claims)))


def decode_lookup(frame: Frame) -> Lookup:
    """Return the look-up of a frame; raises ValueError for what is none."""
    return msgspec.msgpack.decode(_payload(frame, LOOKUP), type=Lookup)


def encode_reply(found: LookupReply) -> tuple[int, bytes]:
    """Return what a look-up found as the kind and payload of its frame."""
    return LOOKUP_REPLY, msgspec.msgpack.encode(_Reply(found.values, found.failure, list(found.owners), found.version))


def decode_reply(frame: Frame) -> LookupReply:
    """Return what a look-up found; raises ValueError for a frame that does not say."""
    read = msgspec.msgpack.decode(_payload(frame, LOOKUP_REPLY), type=_Reply)
    return LookupReply(read.values, read.failure, read.owners, read.version)


def _payload(frame: Frame, kind: int) -> bytes:
    if frame.kind != kind:
        raise ValueError(f"a frame of the unexpected kind {frame.kind}")
    return frame.payload
