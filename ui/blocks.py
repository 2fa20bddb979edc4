"""Markdown that still grows: what can no longer change is rendered once, only the last block again and again."""

import re

from ui.markdown import last_block_line, plain, render

MAX_TAIL_CHARS = 20_000
_LINES = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")  # where markdown-it sees a line's end; str.splitlines sees more


class GrowingMarkdown:
    """Turns a growing text into settled HTML blocks and a tail.

    A block is settled once a later block has begun in a finished line: until the line is
    finished, `1` may still become `1. item` and go on with the list before it.
    """

    def __init__(self) -> None:
        self._settled_chars = 0
        self._looked_at = 0

    def feed(self, text: str) -> tuple[str, str]:
        """Take the whole text so far; return the HTML that has newly settled (often empty) and that of the tail."""
        settled = self._settle(text)
        tail = text[self._settled_chars :]
        return settled, plain(tail) if len(tail) > MAX_TAIL_CHARS else render(tail)

    def _settle(self, text: str) -> str:
        finished = text.rfind("\n") + 1
        if finished <= self._looked_at or finished - self._settled_chars > MAX_TAIL_CHARS:
            return ""
        self._looked_at = finished
        unsettled = text[self._settled_chars : finished]
        source = "".join(_LINES.split(unsettled)[: last_block_line(unsettled)])
        self._settled_chars += len(source)
        return render(source) if source else ""
