"""Incremental Markdown: settled blocks are rendered once, only the last block repeatedly."""

import re
from dataclasses import dataclass

from ui.markdown.plain_text import plain_text
from ui.markdown.render import ENGLISH, Labels, last_block_line, render

MAX_TAIL_CHARS = 20_000
_LINES = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")  # where markdown-it sees a line's end; str.splitlines sees more


@dataclass(frozen=True, slots=True)
class IncrementalResult:
    """What has newly settled of a text, how many characters that took, and the HTML of the rest."""

    settled_chars: int
    settled: str
    tail: str


def render_incrementally(text: str, finished: int, labels: Labels = ENGLISH) -> IncrementalResult:
    """Render what has not settled yet of a text that grows; its first `finished` characters are whole lines.

    A block is settled once a later block has begun in a finished line: until the line is
    finished, `1` may still become `1. item` and go on with the list before it. With
    `finished` 0 nothing settles.
    """
    source = ""
    if 0 < finished <= MAX_TAIL_CHARS:
        source = "".join(_LINES.split(text[:finished])[: last_block_line(text[:finished])])
    tail = text[len(source) :]
    return IncrementalResult(
        len(source),
        render(source, labels) if source else "",
        plain_text(tail) if len(tail) > MAX_TAIL_CHARS else render(tail, labels),
    )
