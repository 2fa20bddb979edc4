"""Task lists: an item that begins with `[ ]` or `[x]` shows a box, empty or checked. It is not interactive."""

import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

Tokens = Sequence[Token]
Env = MutableMapping[str, Any]

_BOX = re.compile(r"\[([ xX])\]\s+(?=\S)")


def task_list_plugin(markdown: MarkdownIt) -> None:
    """Add task lists to `markdown`."""
    markdown.core.ruler.after("inline", "task_list", _find)
    markdown.add_render_rule("task_box", _box)


def _box(_: RendererHTML, tokens: Tokens, index: int, _options: OptionsDict, env: Env) -> str:
    is_done = tokens[index].meta["is_done"]
    label = env["labels"].done if is_done else env["labels"].to_do
    return f'<span class="task-box{" done" if is_done else ""}" role="img" aria-label="{escapeHtml(label)}"></span> '


def _find(state: StateCore) -> None:
    for item, _, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if item.type != "list_item_open" or inline.type != "inline" or not inline.children:
            continue
        first = inline.children[0]
        box = _BOX.match(inline.content) if first.type == "text" and first.content.startswith("[") else None
        if box:
            item.attrJoin("class", "task")
            first.content = first.content[box.end() :]
            inline.children.insert(0, Token("task_box", "", 0, meta={"is_done": box[1] != " "}))
