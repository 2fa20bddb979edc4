"""Formulas in Markdown: `$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]` become elements that page.js sets in type.

What the elements hold is the formula's source as text: where the script is missing, that is what is read.
"""

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


def math_plugin(markdown: MarkdownIt) -> None:
    """Teach `markdown` to read formulas."""
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
    """Read a formula within a line; a dollar before a blank or after one is money, as in Pandoc's rule."""
    rest = state.src[state.pos : state.posMax]
    begin = next((mark for mark in ("$$", "$", "\\(", "\\[") if rest.startswith(mark)), "")
    if not begin:
        return False
    end = {"\\(": "\\)", "\\[": "\\]"}.get(begin, begin)
    at = rest.find(end, len(begin), MAX_CHARS)
    source = rest[len(begin) : at] if at > 0 else ""
    after = rest[at + len(end) : at + len(end) + 1]
    if not source.strip() or (begin == "$" and (source != source.strip() or after.isdigit() or "\n\n" in source)):
        return False
    if not silent:
        state.push("math", "", 0).content = source.strip()
    state.pos += at + len(end)
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a formula that stands on lines of its own."""
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]].strip()
    closing = _FENCES.get(first[:2])
    if closing is None or state.is_code_block(start):
        return False
    lines, last = [first[2:]], start
    while closing not in lines[-1]:
        last += 1
        if last >= end or sum(map(len, lines)) > MAX_CHARS:
            return False
        lines.append(state.src[state.bMarks[last] + state.tShift[last] : state.eMarks[last]])
    body, _, rest = lines[-1].partition(closing)
    if rest.strip():
        return False
    if not silent:
        token = state.push("math_block", "", 0)
        token.content = "\n".join([*lines[:-1], body]).strip()
        token.map = [start, last + 1]
        state.line = last + 1
    return True
