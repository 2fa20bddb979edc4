"""Emphasis next to Chinese, Japanese, and Korean text, where no spaces surround it: `**「引用」**です`.

CommonMark forbids emphasis to begin or end between punctuation and a letter. In these scripts that is where it
usually does. The rules for them are those of the markdown-cjk-friendly specification.
"""

import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline, emphasis, strikethrough
from markdown_it.rules_inline.state_inline import Scanned

Rule = Callable[[StateInline, bool], bool]


def cjk_emphasis_plugin(markdown: MarkdownIt) -> None:
    """Allow emphasis and strikethrough next to these scripts."""
    for name, rule in (("emphasis", emphasis.tokenize), ("strikethrough", strikethrough.tokenize)):
        markdown.inline.ruler.at(name, _friendly(rule))


def _friendly(rule: Rule) -> Rule:
    def tokenize(state: StateInline, silent: bool) -> bool:
        state.scanDelims = partial(_scan, state)  # type: ignore[method-assign]  # the library has no other way in
        return rule(state, silent)

    return tokenize


def _scan(state: StateInline, start: int, can_split_word: bool) -> Scanned:
    """Tell of the run of marks at `start` whether it can open and whether it can close."""
    end, marker = start, state.src[start]
    while end < state.posMax and state.src[end] == marker:
        end += 1
    before, after = _before(state.src, start), state.src[end] if end < state.posMax else " "
    blank_before, blank_after = isWhiteSpace(ord(before)), isWhiteSpace(ord(after))
    mark_before, mark_after = _is_foreign_mark(before), _is_foreign_mark(after)
    is_left = not blank_after and (not mark_after or blank_before or mark_before or _is_cjk(before))
    is_right = not blank_before and (not mark_before or blank_after or mark_after or _is_cjk(after))
    return Scanned(
        is_left and (can_split_word or not is_right or _is_mark(before)),
        is_right and (can_split_word or not is_left or _is_mark(after)),
        end - start,
    )


def _before(text: str, start: int) -> str:
    """Return the character before `start`; the one that counts where another only selects its form."""
    if start > 1 and "\ufe00" <= text[start - 1] <= "\ufe0e":
        return text[start - 2]
    return text[start - 1] if start else " "


def _is_mark(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character)


def _is_foreign_mark(character: str) -> bool:
    return _is_mark(character) and not _is_cjk(character)


@lru_cache(4_096)
def _is_cjk(character: str) -> bool:
    """Tell what is wide, half or full width, but no emoji; parts of Korean letters; forms of ideographs."""
    if (
        "\u1100" <= character <= "\u11ff"
        or "\ud7b0" <= character <= "\ud7ff"
        or "\U000e0100" <= character <= "\U000e01ef"
    ):
        return True
    is_emoji = unicodedata.category(character) in ("So", "Sk") and not "\u2e80" <= character <= "\uffff"
    return unicodedata.east_asian_width(character) in ("W", "F", "H") and not is_emoji
