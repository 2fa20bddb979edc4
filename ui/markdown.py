"""Markdown of a model, which is untrusted, to HTML that can do nothing.

Safe by construction: raw HTML is text, only http(s) and mailto become links, images
are named but never loaded. The browser's DOMPurify runs over the result all the same.
"""

import importlib
import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ui.math import math_plugin
from ui.texts import t

MAX_MARKDOWN_CHARS = 100_000  # markdown-it takes up to 25 µs for a hostile character, 1 µs for an ordinary one
MAX_HIGHLIGHT_CHARS = 20_000
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINKS = ("https://", "http://", "mailto:")


def render(text: str) -> str:
    """Return `text` as inert HTML; past `MAX_MARKDOWN_CHARS` as plain text."""
    return plain(text) if len(text) > MAX_MARKDOWN_CHARS else _MARKDOWN.render(text)


def plain(text: str) -> str:
    """Return `text` as it is, line by line."""
    return f'<p class="plain">{escapeHtml(text)}</p>\n'


def last_block_line(text: str) -> int:
    """Return the line in which the last top-level block of `text` begins; 0 where there is but one."""
    tops = [token for token in _MARKDOWN.parse(text) if token.level == 0 and token.nesting >= 0 and token.map]
    return tops[-1].map[0] if tops and tops[-1].map else 0


def _code_block(source: str, language: str) -> str:
    label = escapeHtml(language or "text")
    return (
        f'<div class="code"><div class="code-head"><span>{label}</span>'
        f'<button type="button" class="code-copy" data-act="copy-code" data-said="{t("Copied")}">'
        f"{t('Copy')}</button></div>"
        f"<pre><code>{_revealed(_highlighted(source, language))}</code></pre></div>\n"
    )


def _revealed(html: str) -> str:
    """Show each character that turns the order of code around as its number; what is copied is without it."""
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


def _fence(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    words = tokens[index].info.split()
    return _code_block(tokens[index].content, words[0][:30] if words else "")


def _image(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    source, alt = str(tokens[index].attrs.get("src", "")), tokens[index].content
    return f'<a class="image-link" href="{escapeHtml(source)}">{t("Image:")} {escapeHtml(alt or source)}</a>'


def _table_open(_: RendererHTML, _tokens: Tokens, _index: int, _options: OptionsDict, _env: Env) -> str:
    return '<div class="table"><table>\n'


def _table_close(_: RendererHTML, _tokens: Tokens, _index: int, _options: OptionsDict, _env: Env) -> str:
    return "</table></div>\n"


def _is_harmless_link(url: str) -> bool:
    return url.lower().startswith(LINKS)


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.validateLink = _is_harmless_link  # type: ignore[method-assign]  # the library's documented way
    for name, rule in {
        "fence": _fence,
        "code_block": _fence,
        "image": _image,
        "table_open": _table_open,
        "table_close": _table_close,
    }.items():
        markdown.add_render_rule(name, rule)
    return markdown.use(math_plugin)


MAX_FILLED_CELLS = 5_000  # empty cells that short rows of a table are filled up with, in all
_TABLES = importlib.import_module("markdown_it.rules_block.table")  # the package has a function of that name
_TABLES.MAX_AUTOCOMPLETED_CELLS = MAX_FILLED_CELLS  # type: ignore[attr-defined]

_FORMATTER = HtmlFormatter(nowrap=True)
_MARKDOWN = _markdown()
