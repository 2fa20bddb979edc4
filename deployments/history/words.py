"""Words as the search splits them (migrations/0007_search.sql): for showing what matched, and for the store in memory.

Texts are compared in lower case and in Unicode's compatibility form (NFKC).
Scripts without spaces between words are compared character by character.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_SIGNS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3021-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
_BETWEEN = (
    "\x00-/:-@\\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\u2000-\u206f\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020"
    "\ufe30-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = re.compile(f"[{_SIGNS}]|[^{_SIGNS}{_BETWEEN}]+")
_RUN = re.compile(f"[^{_BETWEEN}]+")
MAX_TYPED, MAX_WORDS = 1000, 16


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, as it is compared, and where it stands there."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Words that must follow each other; `is_beginning` says that one word need only begin so."""

    words: tuple[str, ...]
    is_beginning: bool = False

    def at(self, words: Sequence[Word], position: int) -> bool:
        """Tell whether it stands at this position of a text."""
        found = [word.text for word in words[position : position + len(self.words)]]
        if self.is_beginning:
            return found[0].startswith(self.words[0])
        return found == list(self.words)


def words_of(text: str) -> list[Word]:
    """Return the words of a text in order."""
    return [Word(_compared(match[0]), match.start(), match.end()) for match in _WORD.finditer(text)]


def wanted_of(typed: str) -> list[Wanted]:
    """Return what a user looks for: each of these; the last word as a beginning too unless a blank follows it."""
    typed = typed[:MAX_TYPED]
    runs = [match[0] for match in _RUN.finditer(typed)][:MAX_WORDS]
    wanted = [Wanted(tuple(word.text for word in words_of(run))) for run in runs]
    is_open = bool(typed) and not typed[-1].isspace()
    if wanted and is_open and len(wanted[-1].words) == 1 and len(wanted[-1].words[0]) > 1:
        wanted[-1] = Wanted(wanted[-1].words, is_beginning=True)
    return wanted


def _compared(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()
