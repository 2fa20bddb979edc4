"""Untrusted Markdown to inert HTML.

Safe by construction: raw HTML is text, only http(s) and mailto become links, images
are named but never loaded. The browser's DOMPurify runs over the result all the same.

Nothing here bounds the time that a text takes, and Pygments' expressions can backtrack
for hours. Pages therefore render through `pool`, in a process that is ended when it
takes too long; this module imports nothing that such a process would not need.
"""

import importlib
import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline, image, link
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ui.markdown.bare_links import REL, bare_links_plugin
from ui.markdown.cjk_emphasis import cjk_emphasis_plugin
from ui.markdown.direction import direction_plugin
from ui.markdown.footnotes import footnotes_plugin
from ui.markdown.math import math_plugin
from ui.markdown.plain_text import MAX_MARKDOWN_CHARS, plain_text
from ui.markdown.task_list import task_list_plugin

MAX_HIGHLIGHT_CHARS = 20_000
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINKS = ("https://", "http://", "mailto:")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels within rendered text, in the reader's language."""

    copy: str = "Copy"
    copied: str = "Copied"
    image: str = "Image:"
    done: str = "Done"
    to_do: str = "To do"
    footnote: str = "Footnote"
    to_text: str = "Back to the reference to footnote"


ENGLISH = Labels()


def render(text: str, labels: Labels = ENGLISH) -> str:
    """Return `text` as inert HTML; past `MAX_MARKDOWN_CHARS` as plain text."""
    return plain_text(text) if len(text) > MAX_MARKDOWN_CHARS else _MARKDOWN.render(text, {"labels": labels})


def last_block_line(text: str) -> int:
    """Return the line in which the last top-level block of `text` begins; 0 where there is but one."""
    tops = [token for token in _MARKDOWN.parse(text) if token.level == 0 and token.nesting >= 0 and token.map]
    return tops[-1].map[0] if tops and tops[-1].map else 0


def _code_block(source: str, language: str, labels: Labels) -> str:
    label = escapeHtml(language or "text")
    return (
        f'<div class="code" dir="ltr"><div class="code-head"><span>{label}</span>'
        f'<button type="button" class="code-copy" data-act="copy-code" data-done="{escapeHtml(labels.copied)}">'
        f"{escapeHtml(labels.copy)}</button></div>"
        f"<pre><code>{_revealed(_highlighted(source, language))}</code></pre></div>\n"
    )


def _revealed(html: str) -> str:
    """Show bidirectional control characters in code as their code points."""
    return _TURNING.sub(lambda found: f'<span class="turning" data-code="U+{ord(found[0]):04X}"></span>', html)


def _highlighted(source: str, language: str) -> str:
    if language and len(source) <= MAX_HIGHLIGHT_CHARS:
        try:
            return highlight(source, get_lexer_by_name(language, stripnl=False), _FORMATTER)
        except ClassNotFound:
            pass
    return escapeHtml(source)


Tokens = Sequence[Token]
Env = MutableMapping[str, Any]


def _fence(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, env: Env) -> str:
    words = tokens[index].info.split()
    return _code_block(tokens[index].content, words[0][:30] if words else "", env["labels"])


def _image(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, env: Env) -> str:
    source, alt = str(tokens[index].attrs.get("src", "")), tokens[index].content
    label = escapeHtml(env["labels"].image)
    return f'<a class="image-link" href="{escapeHtml(source)}" rel="{REL}">{label} {escapeHtml(alt or source)}</a>'


def _link_open(renderer: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    tokens[index].attrSet("rel", REL)
    return renderer.renderToken(tokens, index, options, env)


def _table_open(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    direction = tokens[index].attrGet("dir")
    return f'<div class="table"><table dir="{direction}">\n' if direction else '<div class="table"><table>\n'


def _table_close(_: RendererHTML, _tokens: Tokens, _index: int, _options: OptionsDict, _env: Env) -> str:
    return "</table></div>\n"


def _is_harmless_link(url: str) -> bool:
    return url.lower().startswith(LINKS)


def _where_it_can_close(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """Spare the search for a label's end where no bracket closes any more: it reads all that follows."""

    def bounded(state: StateInline, silent: bool) -> bool:
        last = state.cache.get(_LAST_CLOSING)
        if last is None:
            last = state.cache[_LAST_CLOSING] = state.src.rfind("]")
        return state.pos < last and rule(state, silent)

    return bounded


_LAST_CLOSING = -1  # no position, and so a free place in a cache of positions


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.validateLink = _is_harmless_link  # type: ignore[method-assign]  # the library's documented way
    for name, parsing in (("link", link), ("image", image)):
        markdown.inline.ruler.at(name, _where_it_can_close(parsing))
    for name, rule in {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "link_open": _link_open,
        "table_open": _table_open,
        "table_close": _table_close,
    }.items():
        markdown.add_render_rule(name, rule)
    for plugin in (math_plugin, bare_links_plugin, cjk_emphasis_plugin, task_list_plugin, footnotes_plugin):
        markdown.use(plugin)
    return markdown.use(direction_plugin)  # last: it looks at what the others have made


MAX_FILLED_CELLS = 5_000  # empty cells that short rows of a table are filled up with, in all
_TABLES = importlib.import_module("markdown_it.rules_block.table")  # the package has a function of that name
_TABLES.MAX_AUTOCOMPLETED_CELLS = MAX_FILLED_CELLS  # type: ignore[attr-defined]

_FORMATTER = HtmlFormatter(nowrap=True)
_MARKDOWN = _markdown()
