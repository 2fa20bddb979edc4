"""Plain text, shown instead of Markdown that is too long, or takes too long, to render."""

from html import escape

MAX_MARKDOWN_CHARS = 100_000  # markdown-it takes up to 15 µs per character of hostile text, 1 µs of ordinary text


def plain_text(text: str) -> str:
    """Return `text` as inert HTML, line by line."""
    return f'<p class="plain" dir="auto">{escape(text)}</p>\n'
