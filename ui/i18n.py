"""Translations: the page's texts in the reader's language.

English texts are in the code and serve as keys; `catalogues/de.json` maps them to German.
Another language is one more file there.
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

    Outside of a page, and where a catalogue lacks the text, it stays English.
    """
    translated = _catalogue(language()).get(text, text)
    return translated.format(**values) if values else translated


def percent(whole: int) -> str:
    """Return a percentage as the page's language writes it: 40% in English, 40 % in German."""
    return f"{whole} %" if language() == "de" else f"{whole}%"


def language() -> str:
    """Return the language of the current page: the best match for the browser's preferences."""
    if chosen := _spoken.get():
        return chosen
    try:
        request = context.client.request
    except (RuntimeError, AttributeError):
        return ENGLISH
    return preferred(request.headers.get("accept-language", "")[:200])


@contextmanager
def speaking(accepted: str) -> Generator[None]:
    """Use the best language for an Accept-Language header, in responses that are not NiceGUI pages."""
    token = _spoken.set(preferred(accepted[:200]))
    try:
        yield
    finally:
        _spoken.reset(token)


@cache
def languages() -> frozenset[str]:
    """Return the codes of all available languages."""
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
