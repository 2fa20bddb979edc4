"""Text files in a message: fenced so that no line of a file can close the fence."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

MAX_FILE_BYTES = 256 * 1024
MAX_FILES = 8
_OPENING = re.compile(r"^File `([^`\n]{1,120})`:\n(`{3,})\n", re.MULTILINE)
_FENCE = re.compile(r"^`{3,}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file; `tokens` is None if they could not be counted."""

    name: str
    text: str
    tokens: int | None = None


def with_files(text: str, files: list[TextFile]) -> str:
    """Return the message in the form that the model reads."""
    return "\n\n".join([text, *map(_fenced, files)]).strip()


def without_files(message: str) -> tuple[str, list[TextFile]]:
    """Split a message into the reader's text and its files, in linear time."""
    written: list[str] = []
    files: list[TextFile] = []
    at = 0
    for file, begin, end in _found(message):
        written.append(message[at:begin].rstrip("\n"))
        files.append(file)
        at = end
    return "".join([*written, message[at:]]).strip(), files


def _found(message: str) -> Iterator[tuple[TextFile, int, int]]:
    """Yield each file with its start and end."""
    fences: defaultdict[str, list[int]] = defaultdict(list)
    for fence in _FENCE.finditer(message):
        fences[fence[0]].append(fence.start())
    at = 0
    while opening := _OPENING.search(message, at):
        at, closings = opening.end(), fences[opening[2]]
        if (place := bisect_left(closings, at + 1)) < len(closings):
            text = message[at : closings[place] - 1]
            at = closings[place] + len(opening[2])
            yield TextFile(opening[1], text), opening.start(), at


def _fenced(file: TextFile) -> str:
    longest = max((len(run) for run in re.findall(r"`+", file.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File `{file.name}`:\n{fence}\n{file.text}\n{fence}"
