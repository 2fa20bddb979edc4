"""What a prompt offers to a model that understands nothing: words, numbers and phrases, each taken in turn."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_READ = 20_000
"""Characters of a message that are searched for phrases and numbers."""

NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?![\w.]*\d)")
QUOTED = re.compile(r"(?<!\w)['\"“‘]([^'\"“”‘’\n]{1,80})['\"”’](?!\w)")
NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w{1,30}(?: [A-Z]\w{1,30}){0,3}")
WORD = re.compile(r"\w{1,40}")


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message in OpenAI's shape, its text parts joined by spaces."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def last_question(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of the last message of the user."""
    return next((text_of(m) for m in reversed(messages) if m.get("role") == "user"), "")[:MAX_READ]


def last_message(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the last message that is no instruction, or the last one if all are."""
    return next((m for m in reversed(messages) if m.get("role") not in ("system", "developer")), messages[-1])


class Offer:
    """The values in a text, in their order; what has been taken goes to the end of the line."""

    def __init__(self, text: str) -> None:
        self.quoted = QUOTED.findall(text)
        self.numbers = [float(number) if "." in number else int(number) for number in NUMBER.findall(text)]
        self._phrases: list[str] = self.quoted + NAME.findall(text) or WORD.findall(text) or ["nothing"]

    def take_number(self, fits: Any) -> float | None:
        """Return the first number for which `fits` is true, or None."""
        for at, number in enumerate(self.numbers):
            if fits(number):
                self.numbers.append(self.numbers.pop(at))
                return number
        return None

    def take_phrase(self) -> str:
        """Return a quoted phrase, else a name, else a word."""
        self._phrases.append(self._phrases.pop(0))
        return self._phrases[-1]
