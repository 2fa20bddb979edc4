"""What a streamed answer is made of; apart from `completion`, whose import is slow."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from ui.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Question:
    """One new user message of a conversation.

    `parent` names the message that it follows: the newest if None, none at all if "".
    `system` is said before it. With `continues` the question is stored already (it is
    the `parent`), and the answer goes on after these words.
    """

    conversation_id: str
    text: str
    model: str
    parent: str | None = None
    system: str = ""
    parameters: Parameters = field(default_factory=Parameters)
    continues: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The service has accepted the question; the first token may still take its time."""

    from_cache: bool
    request_id: str
    was_joined: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer, and of what the model thinks before it."""

    text: str = ""
    reasoning: str = ""


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
