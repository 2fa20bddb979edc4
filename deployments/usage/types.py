"""What is counted of requests that have ended."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Grouping = Literal["day", "model", "key"]


@dataclass(frozen=True, slots=True)
class Used:
    """Sums over requests that a key's limits let in; `errors` of them failed for a fault that was not the client's.

    `cached_tokens` are those of answers from the response cache, or from a generation that
    another request began, prompts included. They are in neither of the other two, and count
    against no limit.
    """

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.requests + other.requests,
            self.errors + other.errors,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Whose usage, of what, and when; `model` is "" for a request that named none that there is."""

    key_id: str
    day: date
    model: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report; what it is not grouped by is None."""

    day: date | None
    model: str | None
    key_id: str | None
    used: Used
