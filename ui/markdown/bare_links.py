"""Bare URLs in text become links: those that begin with http://, https://, or mailto:.

A URL ends before a space, a quotation mark, or a bracket that it did not open, and excludes the punctuation
of its sentence. Chinese, Japanese, and Korean are written without spaces, so their letters belong to it only
where a path segment begins with them.
"""

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

Tokens = Sequence[Token]
Env = MutableMapping[str, Any]

REL = "noopener noreferrer"
MAX_CHARS = 2_000
_CJK = "\u1100-\u11ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
_LETTERS = (  # of other scripts, without their punctuation and without what turns the direction around
    "\u00c0-\u037d\u037f-\u0588\u058a-\u05f2\u0610-\u061a\u0620-\u06d3\u06d5-\u0963\u0966-\u10ff\u1200-\u167f\u1780-\u180d"
    "\u1810-\u1fff"
)
_PLAIN = rf"[0-9A-Za-z\-._~:/?#@!$'()+,;=%{_LETTERS}]"
_PATTERN = rf"""
    (?: [0-9A-Za-z] [0-9A-Za-z.\-]*+ | [{_LETTERS}{_CJK}] [0-9A-Za-z.\-{_LETTERS}{_CJK}]*+ ) (?: :\d{{1,5}} )?
    (?: /(?=[{_CJK}])
      | [/?#] (?: (?!~~){_PLAIN} | \*(?=/) | &(?!(?:lt|gt|quot|\#39);) | (?<=[/=_\-{_CJK}])[{_CJK}]
        ){{0,{MAX_CHARS}}}+ )?
"""
_WEB = re.compile(_PATTERN, re.VERBOSE)
_MAIL = re.compile(r"[0-9A-Za-z.!#$%&'+/=?^_~\-]{1,64}@[0-9A-Za-z](?:[0-9A-Za-z.\-]{0,250}[0-9A-Za-z])?")
_SCHEME = re.compile(r"(?<![0-9A-Za-z+.\-])(?:https?|mailto)\Z", re.IGNORECASE)
_LONGEST = len("mailto") + 1


def bare_links_plugin(markdown: MarkdownIt) -> None:
    """Add bare links to `markdown`."""
    markdown.inline.ruler.before("text", "bare_link", _bare_link)
    markdown.add_render_rule("bare_link", _shown)


def _shown(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, _env: Env) -> str:
    token = tokens[index]
    href = escapeHtml(str(token.attrs["href"]))
    return f'<a href="{href}" rel="{REL}" dir="ltr">{escapeHtml(token.content)}</a>'


def _bare_link(state: StateInline, silent: bool) -> bool:
    """Read an address at the colon behind its scheme, which has been read as text."""
    if state.src[state.pos] != ":" or state.linkLevel:
        return False
    begin = max(state.pos - _LONGEST, 0)
    found = _SCHEME.search(state.src[begin : state.pos])
    scheme = found.group() if found else ""
    if not scheme or not (rest := _rest(state, scheme.lower() == "mailto")):
        return False
    address = f"{scheme}:{rest}"
    href = state.md.normalizeLink(f"{scheme.lower()}:{rest}".replace("&amp;", "&"))
    if not state.md.validateLink(href) or not (silent or state.pending.endswith(scheme)):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        token = state.push("bare_link", "a", 0)
        token.attrs = {"href": href}
        token.content = address.replace("&amp;", "&")
    state.pos += 1 + len(rest)
    return True


def _rest(state: StateInline, is_mail: bool) -> str:
    """Return what follows the colon; "" if it is not a URL."""
    begin = state.pos + 1
    if is_mail:
        found = _MAIL.match(state.src, begin, state.posMax)
        return found.group() if found else ""
    if not state.src.startswith("//", begin):
        return ""
    found = _WEB.match(state.src, begin + 2, state.posMax)
    return "//" + _trimmed(found.group()) if found else ""


def _trimmed(address: str) -> str:
    """Return `address` without the punctuation of its sentence and without brackets that it did not open."""
    end, unopened = len(address), address.count(")") - address.count("(")
    while end and (address[end - 1] in "?!.,:;'_~-" or (address[end - 1] == ")" and unopened > 0)):
        unopened -= address[end - 1] == ")"
        end -= 1
    return address[:end]
