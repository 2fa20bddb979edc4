"""Text as it is: what is shown of Markdown that is too long, or takes too long, to be rendered."""

from html import escape

MAX_MARKDOWN_CHARS = 100_000  # markdown-it takes up to 15 µs for a hostile character, 1 µs for an ordinary one


def plain_text(text: str) -> str:
    """Return `text` as inert HTML, line by line."""
    return f'<p class="plain" dir="auto">{escape(text)}</p>\n'
