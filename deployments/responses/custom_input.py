"""The input of a custom tool, read out of the JSON with one string that the model writes in its place."""

import json
import re
from typing import Any

OPENING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
WHOLE = re.compile(
    r'(?:[^"\\]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|'
    r"\\u(?![dD][89abAB])[0-9a-fA-F]{4})+"
)
"""Characters of a JSON string none of which is cut in two: an escape and a pair of surrogates come whole."""
MAX_OPENING = 200


class CustomInput:
    """Decodes arguments that come in pieces; each piece is read once."""

    def __init__(self) -> None:
        self._given: list[str] = []
        self._sent: list[str] = []
        self._rest = ""
        self._is_open = False

    def add(self, piece: str) -> str:
        """Take a piece of the arguments; return what it adds to the input, if that can be told yet."""
        self._given.append(piece)
        self._rest += piece
        if not self._is_open:
            opening = OPENING.match(self._rest[:MAX_OPENING])
            if opening is None:
                return ""
            self._is_open, self._rest = True, self._rest[opening.end() :]
        whole = WHOLE.match(self._rest)
        if whole is None:
            return ""
        self._rest = self._rest[whole.end() :]
        text = _decoded(whole[0])
        self._sent.append(text)
        return text

    def close(self) -> str:
        """Return what is still missing of the input: all of it where the arguments are not of the expected form."""
        whole, sent = self._whole(), "".join(self._sent)
        if not whole.startswith(sent):
            return ""
        self._sent.append(whole[len(sent) :])
        return whole[len(sent) :]

    @property
    def text(self) -> str:
        """The input as far as it is known."""
        return "".join(self._sent)

    def _whole(self) -> str:
        arguments = "".join(self._given)
        value = _value(arguments)
        if value is None:
            return self.text if self._is_open else arguments
        given = value.get("input") if isinstance(value, dict) and len(value) == 1 else None
        return _clean(given) if isinstance(given, str) else arguments


def _decoded(text: str) -> str:
    """Return the characters that the inside of a JSON string stands for."""
    return _clean(str(_value(f'"{text}"')))


def _value(text: str) -> Any:
    """Return what a JSON text stands for, None if it is none; models write line breaks in strings as they are."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode(errors="replace").decode()
