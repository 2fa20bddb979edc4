"""Reading a form whose file is too large for memory: its bytes go on as they come (RFC 7578)."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from deployments.api.http.multipart import MAX_FIELD_BYTES, MAX_HEADER_BYTES, MAX_PARTS, described, text_of
from deployments.errors import BadRequest

CUT_SHORT = "The request's body was cut short: its last boundary is missing."
BLANK = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class StreamedForm:
    """The texts of a form, and the name that its file was sent with; the file itself has gone elsewhere."""

    texts: Mapping[str, str]
    filename: str


async def streamed_form(
    parts: AsyncIterator[bytes], boundary: bytes, field: str, save: Callable[[bytes], Awaitable[None]]
) -> StreamedForm:
    """Return a form whose one file, in `field`, is handed to `save` piece by piece.

    Texts may come before and behind it. Raises BadRequest, which says what is wrong with the form, perhaps after some
    of the file was saved; also what `save` raises. No more is held than a part of the body and one text.
    """
    reader, delimiter = _Reader(parts), b"\r\n--" + boundary
    texts: dict[str, str] = {}
    filename: str | None = None
    await reader.skip(delimiter, "The request's body holds no parts with the boundary that its content type names.")
    for _ in range(MAX_PARTS + 1):
        if await reader.at_end():
            if filename is None:
                raise BadRequest(f"The form must contain one file, in the field '{field}' and with a file name.", field)
            return StreamedForm(texts, filename)
        name, sent_as = described(await reader.head())
        if sent_as is None:
            if name in texts:
                raise BadRequest(f"'{name[:64]}' is given more than once.", name[:64])
            texts[name] = text_of(name, await reader.until(delimiter, MAX_FIELD_BYTES, f"'{name[:64]}' is too long."))
            continue
        if name != field or filename is not None:
            raise BadRequest(f"The form must contain one file, in the field '{field}'.", name[:64])
        filename = sent_as
        async for piece in reader.pieces(delimiter):
            await save(piece)
    raise BadRequest(f"A form may have at most {MAX_PARTS} parts.")


class _Reader:
    """The body so far unread."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like all others

    async def skip(self, mark: bytes, missing: str) -> None:
        try:
            async for _ in self.pieces(mark):
                pass
        except BadRequest:
            raise BadRequest(missing) from None

    async def at_end(self) -> bool:
        """Tell whether the delimiter that was read last is that behind all parts; else go to the part's headers."""
        while len(self._buffer) < 2:
            await self._more()
        if self._buffer.startswith(b"--"):
            return True
        if (await self.until(b"\r\n", MAX_HEADER_BYTES, CUT_SHORT)).strip(b" \t"):
            raise BadRequest(CUT_SHORT)
        return False

    async def head(self) -> bytes:
        """Return a part's headers."""
        too_long = f"A part of the form has no headers, or more than {MAX_HEADER_BYTES} bytes of them."
        return await self.until(BLANK, MAX_HEADER_BYTES, too_long)

    async def until(self, mark: bytes, limit: int, too_long: str) -> bytes:
        """Return what comes before `mark`, and go past it; at most `limit` bytes."""
        found = bytearray()
        async for piece in self.pieces(mark):
            found += piece
            if len(found) > limit:
                raise BadRequest(too_long)
        return bytes(found)

    async def pieces(self, mark: bytes) -> AsyncGenerator[bytes]:
        """Yield what comes before `mark` as it comes, and go past it; BadRequest where there is none."""
        while (at := self._buffer.find(mark)) < 0:
            sure = len(self._buffer) - len(mark) + 1
            if sure > 0:
                yield self._taken(sure)
            await self._more()
        if at:
            yield self._taken(at)
        del self._buffer[: len(mark)]

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> None:
        part = await anext(self._parts, None)
        if part is None:
            raise BadRequest(CUT_SHORT)
        self._buffer += part
