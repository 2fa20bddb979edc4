"""Footnotes: `[^1]` refers to the note `[^1]: …`, which stays where it is written and keeps its label.

Notes are neither renumbered nor moved to the end: an answer is rendered in pieces while it streams and looks the same
afterwards. For the same reason a number is a reference even if its note has not been seen yet. Another label is one
only behind its note or in the same piece, for `[^abc]` may be a regular expression.
"""

import re
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

MAX_LABEL_CHARS = 60
_NOTES = "footnotes"  # the labels that have a note, in the environment of one rendering
_REFERENCE = re.compile(rf"\[\^([^\s\[\]^]{{1,{MAX_LABEL_CHARS}}})\]")
_NOTE = re.compile(_REFERENCE.pattern + r":[ \t]*")
_INDENT = 4  # of the further paragraphs of a note


def footnotes_plugin(markdown: MarkdownIt) -> None:
    """Add footnotes and their references to `markdown`."""
    markdown.block.ruler.before("reference", "footnote", _note, {"alt": ["paragraph", "reference"]})
    markdown.inline.ruler.before("link", "footnote_ref", _reference)
    for name, rule in {"footnote_ref": _shown_reference, "footnote_open": _opened, "footnote_close": _closed}.items():
        markdown.add_render_rule(name, rule)


def _button(act: str, label: str, aria_label: str) -> str:
    label = escapeHtml(label)
    return (
        f'<button type="button" class="{act}" data-act="{act}" data-note="{label}" '
        f'aria-label="{escapeHtml(aria_label)} {label}">{label}</button>'
    )


def _shown_reference(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, env: Env) -> str:
    return f"<sup>{_button('to-note', tokens[index].content, env['labels'].footnote)}</sup>"


def _opened(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, env: Env) -> str:
    direction = tokens[index].attrGet("dir")
    turned = f' dir="{direction}"' if direction else ""
    return f'<div class="footnote"{turned}>{_button("to-text", tokens[index].info, env["labels"].to_text)}<div>\n'


def _closed(_: RendererHTML, _tokens: Tokens, _index: int, _options: OptionsDict, _env: Env) -> str:
    return "</div></div>\n"


def _reference(state: StateInline, silent: bool) -> bool:
    found = _REFERENCE.match(state.src, state.pos, state.posMax)
    if found is None or not (found[1].isdecimal() or found[1] in state.env.get(_NOTES, ())) or state.linkLevel:
        return False
    if not silent:
        state.push("footnote_ref", "", 0).content = found[1]
    state.pos = found.end()
    return True


def _note(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a note: what follows the colon, and the indented lines below."""
    begin = state.bMarks[start] + state.tShift[start]
    found = None if state.is_code_block(start) else _NOTE.match(state.src, begin, state.eMarks[start])
    if found is None or silent:
        return found is not None
    state.env.setdefault(_NOTES, set()).add(found[1])
    opening = Token("footnote_open", "div", 1, block=True, level=state.level, info=found[1])
    state.tokens.append(opening)
    state.level += 1
    line = state.bMarks[start], state.tShift[start], state.sCount[start]
    state.bMarks[start], state.tShift[start], state.sCount[start] = found.end(), 0, state.blkIndent + _INDENT
    state.blkIndent += _INDENT
    state.md.block.tokenize(state, start, end)
    state.blkIndent -= _INDENT
    state.bMarks[start], state.tShift[start], state.sCount[start] = line
    state.level -= 1
    opening.map = [start, state.line]
    state.tokens.append(Token("footnote_close", "div", -1, block=True, level=state.level))
    return True
