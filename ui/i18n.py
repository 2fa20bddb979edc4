"""What the page says, in the reader's language.

English stands in the code and is its own key; `catalogues/de.json` maps it to German.
A third language is one more file there.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from nicegui import context

CATALOGUES = Path(__file__).parent / "catalogues"
ENGLISH = "en"
_spoken: ContextVar[str] = ContextVar("spoken", default="")


def t(text: str, **values: object) -> str:
    """Return `text` in the language of the page that is being built or changed, with `values` filled in.

    Outside of any page, and where a catalogue lacks it, it stays English.
    """
    said = _catalogue(language()).get(text, text)
    return said.format(**values) if values else said


def language() -> str:
    """Return the language of the current page: the browser's first choice of those there are."""
    if chosen := _spoken.get():
        return chosen
    try:
        request = context.client.request
    except (RuntimeError, AttributeError):
        return ENGLISH
    return preferred(request.headers.get("accept-language", "")[:200])


@contextmanager
def speaking(accepted: str) -> Generator[None]:
    """Speak the best language for an Accept-Language header: for an answer that is no NiceGUI page."""
    token = _spoken.set(preferred(accepted[:200]))
    try:
        yield
    finally:
        _spoken.reset(token)


@cache
def languages() -> frozenset[str]:
    """Return the codes of all languages that there are."""
    return frozenset({ENGLISH, *(path.stem for path in CATALOGUES.glob("*.json"))})


def preferred(accepted: str) -> str:
    """Return the best language for an Accept-Language header (RFC 9110, 12.5.4)."""
    weighted = sorted((_weighted(part) for part in accepted.split(",")), key=lambda pair: -pair[1])
    return next((name for name, weight in weighted if weight > 0 and name in languages()), ENGLISH)


def _weighted(part: str) -> tuple[str, float]:
    name, _, weight = part.partition(";q=")
    try:
        return name.strip().lower().partition("-")[0], float(weight or 1)
    except ValueError:
        return "", 0.0


@cache
def _catalogue(name: str) -> dict[str, str]:
    path = CATALOGUES / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if name != ENGLISH and path.exists() else {}
