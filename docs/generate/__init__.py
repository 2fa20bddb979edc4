"""The reference pages, made from the code: `python -m docs.generate` writes them, `make docs` does so first.

They are committed, so that they can be read in the repository as well; a test fails when one of them is out of date.
A page is one function that returns Markdown, in a module named after it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate import api, cli, errors, metrics, settings, variables

REFERENCE = Path(__file__).parents[1] / "reference"
NOTE = "<!-- Made from the code by `make docs`: changes to this file are lost. -->"
PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api.page,
    "cli.md": cli.page,
    "errors.md": errors.page,
    "metrics.md": metrics.page,
    "nodes.md": variables.page,
    "settings.md": settings.page,
}


def text_of(name: str) -> str:
    """Return a page as it should stand in `docs/reference`. Its title comes first: mkdocs looks for it there."""
    title, _, rest = PAGES[name]().strip().partition("\n")
    return f"{title}\n\n{NOTE}\n{rest}\n"


def write() -> None:
    """Write all pages."""
    for name in PAGES:
        (REFERENCE / name).write_text(text_of(name))
