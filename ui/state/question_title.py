"""A conversation's title from its question: the first sentence, as a reader sees it, on one line.

It stands until the model has written a title, and for good where the model is too small to write one.
"""

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ui.files.message import pieces
from ui.i18n import t

MAX_CHARS = 60
MIN_CHARS = 12
"""A shorter sentence, such as a greeting, is joined with the next."""
READ_CHARS = 1_000
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?![a-zß-ÿ])|(?<=[。！？])\s*")
_SPACES = {"softbreak", "hardbreak"}


def question_title(message: str) -> str:
    """Return a title of at most `MAX_CHARS`; for a message without text, the names of its attachments."""
    shown = pieces(message)
    names = ", ".join(file.name for file in shown.files) or (t("Image") if shown.images else "")
    text = shown.text[:READ_CHARS]
    return shorten(_beginning(text) or text or names)


def shorten(text: str) -> str:
    """Return `text` on one line, truncated at a word boundary."""
    line = " ".join(text.split())
    if len(line) <= MAX_CHARS:
        return line
    words = line[:MAX_CHARS].rsplit(" ", 1)[0][: MAX_CHARS - 1]
    return words.rstrip(",;:. ") + "…"


def _beginning(text: str) -> str:
    title = ""
    for sentence in _sentences(text):
        title = f"{title} {sentence}".strip()
        if len(title) >= MIN_CHARS and not title.endswith(":"):
            break
    return title.rstrip(".:; ")


def _sentences(text: str) -> Iterator[str]:
    for block in _blocks(text):
        yield from (sentence.strip() for sentence in _SENTENCE_END.split(block) if sentence.strip())


def _blocks(text: str) -> Iterator[str]:
    """Yield what a reader sees of each paragraph, heading, item or block of code."""
    for token in _MARKDOWN.parse(text):
        if token.type == "inline":
            yield "".join(_shown(part) for part in token.children or ())
        elif token.type in ("fence", "code_block"):
            yield token.content.strip()


def _shown(part: Token) -> str:
    return " " if part.type in _SPACES else part.content
