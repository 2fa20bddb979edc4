"""Input files that are large or strange: what they cost others, and that they end."""

import asyncio
from collections.abc import AsyncGenerator

from deployments.batches import validation as module
from deployments.batches.validation import Validation

LINE = b'{"custom_id":"%d","method":"POST","url":"/v1/embeddings","body":{}}\n'
CHUNK = 100_000


async def pieces(content: bytes, asked: list[int]) -> AsyncGenerator[bytes]:
    for at in range(0, len(content), CHUNK):
        asked.append(at)
        yield content[at : at + CHUNK]


async def validated(content: bytes, max_lines: int = 1000) -> tuple[Validation, int, int]:
    """Return what was found, how many pieces were read, and how often others had a turn."""
    turns, asked = 0, list[int]()

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())
    validation = Validation("/v1/embeddings", max_lines, 65_536, lambda _: True)
    async for _ in validation.pages(pieces(content, asked)):
        pass
    beside.cancel()
    return validation, len(asked), turns


async def test_others_have_their_turn_while_lines_are_read() -> None:
    lines = b"".join(LINE % number for number in range(900))
    for content in (lines, b"wrong\n" + lines, b"\n" * 900):
        _, _, turns = await validated(content)
        assert turns >= 900 // module.LINES_IN_A_ROW - 1


async def test_a_file_of_empty_lines_is_not_read_to_its_end() -> None:
    validation, asked, _ = await validated(b"\n \r\n" * 10 * CHUNK)
    assert asked == 1
    assert [error.code for error in validation.errors] == ["too_many_requests"]


async def test_empty_lines_between_others_are_counted_and_ignored() -> None:
    validation, _, _ = await validated(b"\n" + LINE % 1 + b" \r\n\n" + LINE % 2 + b"wrong\n\n")
    assert [(error.code, error.line) for error in validation.errors] == [("invalid_json_line", 6)]
    assert validation.total == 3
