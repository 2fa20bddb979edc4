"""A client that leaves before its answer is there."""

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import orjson


async def leave(url: str, key: str, body: dict[str, Any], stays_s: float) -> bytes:
    """Send a request by a connection of its own, in one piece, and close it after some time; return what had come."""
    address, content = urlsplit(url), orjson.dumps(body)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    read = bytearray()
    with suppress(TimeoutError):
        async with asyncio.timeout(stays_s):
            while piece := await reader.read(65_536):
                read += piece
    writer.close()
    return bytes(read)
