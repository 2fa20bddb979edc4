"""A form is read as it comes, in whatever pieces, and nothing of its file is held or lost."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.http.streamed_form import streamed_form
from deployments.errors import BadRequest

BOUNDARY = b"b0undary"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\nContent-Type: text/plain'
PURPOSE = b'Content-Disposition: form-data; name="purpose"'


def form(*parts: tuple[bytes, bytes], preamble: bytes = b"") -> bytes:
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return preamble + body + b"--" + BOUNDARY + b"--\r\n"


async def in_pieces(body: bytes, size: int) -> AsyncGenerator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]
    yield b""


async def read(body: bytes, size: int = 7) -> tuple[dict[str, str], str, list[bytes]]:
    saved: list[bytes] = []

    async def save(data: bytes) -> None:
        saved.append(data)

    found = await streamed_form(in_pieces(body, size), BOUNDARY, "file", save)
    return dict(found.texts), found.filename, saved


NEAR_BOUNDARY = st.lists(
    st.sampled_from([b"\r\n", b"--", BOUNDARY, b"\r\n--", b"\r\n--b0undar", b"x", b"\n", b"\r"]), max_size=20
).map(b"".join)


@given(NEAR_BOUNDARY | st.binary(max_size=200), st.integers(1, 50), st.booleans())
async def test_any_content_comes_through_in_any_pieces(content: bytes, size: int, file_is_first: bool) -> None:
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        return
    parts = [(FILE, content), (PURPOSE, b"batch")]
    body = form(*(parts if file_is_first else reversed(parts)))

    texts, filename, saved = await read(body, size)

    assert (texts, filename, b"".join(saved)) == ({"purpose": "batch"}, "a.jsonl", content)
    assert max(map(len, saved), default=0) <= size + len(BOUNDARY) + 4


async def test_what_stands_before_the_first_part_is_passed_over() -> None:
    body = form((FILE, b"1"), preamble=b"This is a form.\r\n")
    assert (await read(body))[2] == [b"1"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no parts"),
        (b"nothing like it", "no parts"),
        (form(), "must contain one file"),
        (form((PURPOSE, b"batch")), "must contain one file"),
        (form((FILE, b"1"), (FILE, b"2")), "must contain one file"),
        (form((FILE.replace(b'"file"', b'"other"'), b"1")), "must contain one file"),
        (form((PURPOSE, b"batch"), (PURPOSE, b"batch")), "more than once"),
        (form((PURPOSE, b"b" * 70_000)), "too long"),
        (form((PURPOSE, b"\xff")), "UTF-8"),
        (form((b"X-Nothing: 1", b"1")), "does not name its field"),
        (form((b"X: " + b"y" * 5000, b"1")), "bytes of them"),
        (form((FILE, b"1"))[:-6], "cut short"),
        (form((FILE, b"1")).replace(BOUNDARY + b"\r\n", BOUNDARY + b"?\r\n"), "cut short"),
        (form(*[(PURPOSE.replace(b"purpose", b"p%d" % at), b"1") for at in range(70)]), "at most 64 parts"),
    ],
)
async def test_what_is_wrong_with_a_form_is_told(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        await read(body)
