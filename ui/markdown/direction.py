"""Right-to-left text in Markdown: each block gets the direction of its own words, code stays left to right.

A block of words (a paragraph, a heading, a cell) leaves it to the browser (`dir="auto"`). Of what holds such blocks
(a list, a quotation, a table) the browser would see no words of its own, so its direction is that of the first letter
within, as in the HTML standard, and is written out: it decides on which side bullets, bars and first columns stand.
The lines of an item follow their own words by the style sheet (`unicode-bidi: plaintext`), whose bullets stay in line.
"""

import unicodedata

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_LEAVES = {"paragraph_open", "heading_open", "th_open", "td_open"}
_HOLDERS = {"bullet_list_open", "ordered_list_open", "blockquote_open", "table_open", "footnote_open"}
_CLOSERS = {opener.replace("_open", "_close") for opener in _HOLDERS}
_ISOLATE, _END = "\u2068", "\u2069"
_WORDS = {"text", "image"}  # of an inline token: not its code, formulas and addresses


def direction_plugin(markdown: MarkdownIt) -> None:
    """Set the direction of every block."""
    markdown.core.ruler.push("direction", _mark)


def direction_of(text: str) -> str:
    """Return "ltr" or "rtl" after the first letter of `text` that has a direction; "" if none has."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind == "L":
            return "ltr"
        if kind in ("R", "AL"):
            return "rtl"
    return ""


def isolated(text: str) -> str:
    """Return `text` so that it can stand within a sentence of the other direction."""
    return f"{_ISOLATE}{text}{_END}" if direction_of(text) == "rtl" else text


def _mark(state: StateCore) -> None:
    undecided: list[Token] = []  # holders, the innermost last, in which no letter has been seen yet
    for token in state.tokens:
        if token.type in _LEAVES:
            token.attrSet("dir", "auto")
        elif token.type in _HOLDERS:
            undecided.append(token)
        elif token.type in _CLOSERS and undecided and undecided[-1].level == token.level:
            undecided.pop()
        elif token.type == "inline":
            _mark_code(token)
            if undecided and (direction := _direction_within(token)):
                _decide(undecided, direction)
                undecided.clear()


def _decide(holders: list[Token], direction: str) -> None:
    for holder in holders:
        if direction == "rtl" or holder.level:  # the page itself goes from left to right
            holder.attrSet("dir", direction)


def _mark_code(inline: Token) -> None:
    for child in inline.children or []:
        if child.type == "code_inline":
            child.attrSet("dir", "ltr")


def _direction_within(inline: Token) -> str:
    for child in inline.children or []:
        if child.type in _WORDS and (direction := direction_of(child.content)):
            return direction
    return ""
