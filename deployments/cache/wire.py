"""How look-ups cross from an ingress replica to a replica of the cache deployment, and what is found back.

After the secret (introduction.py) a connection carries any number of

    length of the rest (4 bytes, big endian) · number of the call (4) · msgpack

An answer bears the number of its call; answers come in any order.
"""

import struct
from collections.abc import Sequence

import msgspec

from deployments.cache.claims import Claim
from deployments.cache.remote import Found

HEAD = struct.Struct(">II")
NUMBER_BYTES = 4
MAX_NUMBER = 2**32
MAX_ASKED_BYTES = 4 * 1024 * 1024
MAX_FOUND_BYTES = 1024 * 1024 * 1024
"""Many keys are asked for at once, and each answer may be large."""


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """The arguments of `RemoteCache.lookup`."""

    keys: list[str]
    claims: list[Claim | None]


class _Found(msgspec.Struct, array_like=True):
    values: list[bytes | None]
    failure: str
    holders: list[bytes]
    version: str


def asked(number: int, keys: Sequence[str], claims: Sequence[Claim | None]) -> bytes:
    """Return a look-up as it crosses."""
    return _message(number, msgspec.msgpack.encode(Asked(list(keys), list(claims))))


def read_asked(payload: bytes) -> Asked:
    """Return the look-up; raises ValueError for what is none."""
    return msgspec.msgpack.decode(payload, type=Asked)


def found(number: int, what: Found) -> bytes:
    """Return what a look-up found as it crosses."""
    return _message(number, msgspec.msgpack.encode(_Found(what.values, what.failure, list(what.holders), what.version)))


def read_found(payload: bytes) -> Found:
    """Return what was found; raises ValueError for what is no such thing."""
    read = msgspec.msgpack.decode(payload, type=_Found)
    return Found(read.values, read.failure, read.holders, read.version)


def taken(buffer: bytearray, max_bytes: int) -> list[tuple[int, bytes]]:
    """Take the whole messages off the front of `buffer`, each with its number; raises ValueError for what is none."""
    messages: list[tuple[int, bytes]] = []
    at, end = 0, len(buffer)
    while end - at >= HEAD.size:
        length, number = HEAD.unpack_from(buffer, at)
        if not NUMBER_BYTES < length <= max_bytes:
            raise ValueError("a message of an impossible length")
        following = at + HEAD.size - NUMBER_BYTES + length
        if following > end:
            break
        messages.append((number, bytes(buffer[at + HEAD.size : following])))
        at = following
    del buffer[:at]
    return messages


def _message(number: int, payload: bytes) -> bytes:
    return HEAD.pack(NUMBER_BYTES + len(payload), number) + payload
