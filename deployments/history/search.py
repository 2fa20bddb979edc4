"""What a search over conversations finds, and the piece of text that shows why."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.history.types import Conversation
from deployments.history.words import Wanted, Word, wanted_of, words_of

MAX_MATCHES = 500
"""The newest items that match are ranked, so many of them: a word that stands everywhere must not cost more."""
BEFORE, LENGTH = 60, 200
"""Characters of a snippet: before its first match, and in all, roughly."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a snippet; data, not markup: whoever shows it escapes it."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A conversation in which something was found: its best item, that one's text, and how well it matches."""

    conversation: Conversation
    item_id: str
    role: str
    text: str
    score: float

    @property
    def id(self) -> str:
        """The conversation's id, which is the cursor of the next page."""
        return self.conversation.id


def snippet(text: str, typed: str) -> list[Piece]:
    """Return the part of `text` around what was looked for, in pieces; its beginning if nothing is found there."""
    words = words_of(text)
    spans = _spans(words, wanted_of(typed))
    start = _word_start(words, spans[0][0] - BEFORE) if spans and spans[0][0] > BEFORE else 0
    end = min(len(text), start + LENGTH)
    pieces: list[Piece] = [Piece("…", False)] if start else []
    at = start
    for first, last in spans:
        if last > end:
            break
        pieces += [Piece(text[at:first], False), Piece(text[first:last], True)]
        at = last
    pieces.append(Piece(text[at:end] + ("…" if end < len(text) else ""), False))
    return [piece for piece in pieces if piece.text]


def _spans(words: Sequence[Word], wanted: Sequence[Wanted]) -> list[tuple[int, int]]:
    """Return where the text matches, from left to right and without overlaps, in characters."""
    spans: list[tuple[int, int]] = []
    for position, word in enumerate(words):
        if spans and word.start < spans[-1][1]:
            continue
        lengths = [len(one.words) for one in wanted if one.at(words, position)]
        if lengths:
            spans.append((word.start, words[position + max(lengths) - 1].end))
    return spans


def _word_start(words: Sequence[Word], at: int) -> int:
    return next((word.start for word in words if word.start >= at), at)
