"""The id under which a reader gets an answer that someone else's request began."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import msgspec

from deployments.models.protocol import Frames, Message, Reply


class _Head(msgspec.Struct):
    id: str = ""


async def renamed(messages: AsyncGenerator[Message], reply_id: str) -> AsyncGenerator[Message]:
    """Yield `messages` with `reply_id` in place of the answer's id.

    Inside a JSON string a quote is escaped, so that no text of the model can look like the field.
    """
    new, old = b'"id":%b,' % msgspec.json.encode(reply_id), b""
    async with aclosing(messages):
        async for message in messages:
            match message:
                case Frames(data):
                    old = old or _id_of(data[: data.find(b"\n\n")].removeprefix(b"data: "))
                    yield Frames(data.replace(old, new))
                case Reply(body):
                    old = old or _id_of(body)
                    yield replace(message, body=body.replace(old, new, 1))
                case _:
                    yield message


def _id_of(answer: bytes) -> bytes:
    return b'"id":%b,' % msgspec.json.encode(msgspec.json.decode(answer, type=_Head).id)
