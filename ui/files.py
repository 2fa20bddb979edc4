"""Files within a message: their text in a fence that none of its lines can close, and back again."""

import re
from dataclasses import dataclass

MAX_FILE_BYTES = 256 * 1024
MAX_FILES = 8
_FILE = re.compile(r"\n*^File `([^`\n]{1,120})`:\n(`{3,})\n(.*?)\n\2$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of text; `tokens` is None where the service could not count them."""

    name: str
    text: str
    tokens: int | None = None


def with_files(text: str, files: list[TextFile]) -> str:
    """Return the message that a model is to read."""
    return "\n\n".join([text, *map(_fenced, files)]).strip()


def without_files(message: str) -> tuple[str, list[TextFile]]:
    """Return what the reader wrote, and the files that came along."""
    files = [TextFile(match[1], match[3]) for match in _FILE.finditer(message)]
    return _FILE.sub("", message).strip(), files


def decoded(content: bytes) -> str | None:
    """Return the text of a file; None for anything that is no text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.replace("\r\n", "\n").rstrip()


def _fenced(file: TextFile) -> str:
    longest = max((len(run) for run in re.findall(r"`+", file.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File `{file.name}`:\n{fence}\n{file.text}\n{fence}"
