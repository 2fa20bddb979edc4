"""Reading a request's body without letting its sender harm anyone else.

Bounded are the bytes, the time that they take to arrive, and the values that they
hold: decoding blocks the event loop, and 8 MiB of empty lists would block it for
more than a second where the same amount of text takes five milliseconds.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from deployments.api.http.connection import ClientGone
from deployments.errors import BodyTooLarge, InvalidJSON, SlowSender, UnsupportedEncoding
from deployments.infra.heap import decoded_json

RESERVED_DEPTH = 30
"""Levels of nesting that this service may put around a client's JSON; orjson writes 254 in all."""


async def body_of(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Return the whole body; raises BodyTooLarge before reading more than `max_bytes`, SlowSender, or ClientGone."""
    parts = [part async for part in stream_of(request, max_bytes, timeout_s)]
    return b"".join(parts)


async def stream_of(request: Request, max_bytes: int, timeout_s: float) -> AsyncGenerator[bytes]:
    """Yield the body as it comes, within `timeout_s` of the sender's own time; raises what `body_of` does.

    What is done with a part before the next is asked for does not count.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    size, left_s = 0, timeout_s
    parts = request.stream()
    while True:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                part = await anext(parts, None)
        except TimeoutError:
            raise SlowSender(f"The request's body did not arrive within {timeout_s:g} s.") from None
        except ClientDisconnect:
            raise ClientGone from None
        if part is None:
            return
        left_s -= time.monotonic() - asked_at
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield part


def decoded(body: bytes, max_values: int) -> Any:
    """Return the JSON value of `body`; InvalidJSON unless it is one that can be written again, enclosed in more.

    orjson's decoder takes deeper nesting than its encoder. Of equal keys the last
    counts, and since only what was decoded goes on, everyone behind sees that one.
    Integers past 64 bits become floats; their digits would cost seconds.
    """
    if _has_more_values(body, max_values):
        raise InvalidJSON(f"The request's body holds more than {max_values} values, the limit of this server.")
    try:
        value = enclosed = decoded_json(body)
        for _ in range(RESERVED_DEPTH):
            enclosed = [enclosed]
        orjson.dumps(enclosed)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise InvalidJSON(f"The request's body is not valid JSON: {error}.") from None
    return value


def _has_more_values(body: bytes, limit: int) -> bool:
    """Count in a few passes at memory speed, with strings cut out only where the bytes could hold that many."""
    if _marks(body) <= limit:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return bare.count(b'"') > 4 * limit or _marks(b"".join(bare.split(b'"')[::2])) > limit


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request's body is larger than {max_bytes} bytes, the limit of this server.")
