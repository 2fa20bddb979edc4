"""Formulas in Markdown: `$…$`, `$$…$$`, `\\(…\\)`, and `\\[…\\]` become elements that page.js typesets.

The elements contain the formula's source as text, which is shown if the script is missing.

A single dollar is more often a price or a variable than a formula. Pandoc's rules tell them apart: a formula begins
and ends with no blank, and no digit follows it. Beyond them, no letter or digit stands before a formula and no letter
behind it (`$HOME/bin:$PATH`, 25$), but for the ending of an ordinal (`$n$th`), and its brackets are closed.
"""

import re
from bisect import bisect_left
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

Tokens = Sequence[Token]
Env = MutableMapping[str, Any]

MAX_CHARS = 5_000
_FENCES = {"$$": "$$", "\\[": "\\]"}
_REST_OF_LINE = re.compile(r"[^\S\n]*(?:\n|\Z)")
_CLOSINGS = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_DOLLAR = re.compile(
    r"""(?<![0-9A-Za-z])\$(?![\s@#?]|\.[A-Za-z])
    (?P<source>(?:[^\\$`]|\\.)++)
    (?<!\s)\$(?:(?=(?:st|nd|rd|th)\b)|(?!_?[0-9A-Za-z]|\{))""",
    re.DOTALL | re.VERBOSE,
)
_PRICE_OR_VARIABLE = re.compile(r"\d|[A-Z_]{2,}\b")
_WORD = re.compile(r"\s[A-Za-z]{2,}\s")
_TEX = re.compile(r"[\\^_={}]")


def math_plugin(markdown: MarkdownIt) -> None:
    """Add formulas to `markdown`."""
    markdown.inline.ruler.before("escape", "math", _inline)
    markdown.block.ruler.before(
        "fence", "math_block", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.add_render_rule("math", _within_a_line)
    markdown.add_render_rule("math_block", _on_its_own)


def _within_a_line(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    return f'<span class="math">{escapeHtml(tokens[index].content)}</span>'


def _on_its_own(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    return f'<div class="math math-block">{escapeHtml(tokens[index].content)}</div>\n'


def _inline(state: StateInline, silent: bool) -> bool:
    """Read a formula within a line."""
    if state.src[state.pos] not in "$\\":
        return False
    opening = state.src[state.pos : state.pos + 2]
    source, end = _between(state, opening) if opening in _CLOSINGS else _between_dollars(state)
    if not source.strip() or len(source) > MAX_CHARS:
        return False
    if not silent:
        state.push("math", "", 0).content = source.strip()
    state.pos = end
    return True


def _between(state: StateInline, opening: str) -> tuple[str, int]:
    """Return the source between two marks and where it ends; "" if there is none."""
    begin, closing = state.pos + 2, _CLOSINGS[opening]
    at = state.src.find(closing, begin, min(state.posMax, begin + MAX_CHARS))
    source = state.src[begin:at] if at > 0 else ""
    if opening == "$$" and source:
        around = state.src[max(state.pos - 1, 0) : state.pos] + state.src[at + 2 : at + 3]
        is_process_id = _WORD.search(source) and not _TEX.search(source)
        if is_process_id or any(character.isascii() and character.isalnum() for character in around):
            return "", begin
    return source, at + 2


def _between_dollars(state: StateInline) -> tuple[str, int]:
    found = _DOLLAR.match(state.src, state.pos, state.posMax)
    if found is None or _is_plain_text(found["source"], state.src[found.end() : found.end() + 1]):
        return "", state.pos
    return found["source"], found.end()


def _is_plain_text(source: str, after: str) -> bool:
    """Tell prices, variables of a shell and commands from a formula between single dollars."""
    if source[0] == after == "(":  # $(pwd)/$(date)
        return True
    if "\\" not in source and sum(map(source.count, "([{")) != sum(map(source.count, ")]}")):
        return True
    return bool(_PRICE_OR_VARIABLE.match(source) and _WORD.search(source) and not _TEX.search(source))


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a formula that stands on lines of its own."""
    begin = state.bMarks[start] + state.tShift[start] + 2
    closing = _FENCES.get(state.src[begin - 2 : begin])
    if closing is None or state.is_code_block(start):
        return False
    at = state.src.find(closing, begin, begin + MAX_CHARS)
    if at < 0 or not _REST_OF_LINE.match(state.src, at + 2):
        return False
    last = bisect_left(state.eMarks, at, start, end)
    if last == end:
        return False
    if not silent:
        firsts = (state.bMarks[line] + state.tShift[line] for line in range(start + 1, last + 1))
        lines = zip([begin, *firsts], [*state.eMarks[start:last], at], strict=True)
        token = state.push("math_block", "", 0)
        token.content = "\n".join(state.src[first:line_end] for first, line_end in lines).strip()
        token.map = [start, last + 1]
        state.line = last + 1
    return True
