"""What a streamed answer is made of; apart from `completion`, whose import is slow."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """One new user message of a conversation; `parent` names the message it follows, else the newest."""

    conversation_id: str
    text: str
    model: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The service has accepted the question; the first token may still take its time."""

    from_cache: bool
    request_id: str


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with the model's reason and what was used; tokens are 0 where the service does not tell."""

    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


Event = Started | Delta | Finished


class Asks(Protocol):
    """Whoever answers questions: `completion.Completions`."""

    def ask(self, question: Question) -> AsyncGenerator[Event]:
        """Yield the events of one answer; raise `Trouble`; closing it cancels the request."""
        ...
