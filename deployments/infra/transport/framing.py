"""What a connection carries after its handshake: any number of frames.

    length of the rest (4 bytes, big endian) · channel (16) · kind (1) · payload

A channel is what a frame belongs to: the stream of an answer, whose random name nobody can guess, or the
number of a look-up. What a payload means is for the kind, and for both ends, to say.
"""

import struct
from typing import NamedTuple

CHANNEL_BYTES = 16
MAX_FRAME_BYTES = 1024 * 1024 * 1024
LENGTH = struct.Struct(">I")
HEAD = struct.Struct(f">I{CHANNEL_BYTES}sB")
_REST_BYTES = CHANNEL_BYTES + 1

(
    FRAMES,
    REPLY,
    FAILED,
    SUBSCRIBE,
    LEAVE,
    PROGRESS,
    PART,
    LOOKUP,
    LOOKUP_REPLY,
    TOKEN_FRAMES,
    BEAT,
    HANDED_OVER,
) = range(12)
"""All kinds, in one place, so that no two ends mean different things by one."""


class Frame(NamedTuple):
    """One frame."""

    channel: bytes
    kind: int
    payload: bytes


def encode(channel: bytes, kind: int, payload: bytes) -> bytes:
    """Return a frame as it crosses."""
    return HEAD.pack(_REST_BYTES + len(payload), channel, kind) + payload


def decode(buffer: bytearray, max_bytes: int = MAX_FRAME_BYTES) -> list[Frame]:
    """Take the whole frames off the front of `buffer`; raises ValueError for what is none."""
    frames: list[Frame] = []
    at, end = 0, len(buffer)
    while end - at >= HEAD.size:
        length, channel, kind = HEAD.unpack_from(buffer, at)
        if not _REST_BYTES <= length <= max_bytes:
            raise ValueError("a frame of an impossible length")
        following = at + LENGTH.size + length
        if following > end:
            break
        frames.append(Frame(channel, kind, bytes(buffer[at + HEAD.size : following])))
        at = following
    del buffer[:at]
    return frames
