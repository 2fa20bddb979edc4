"""What a streamed answer is made of; apart from `completion`, whose import is slow."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from ui.state.parameters import Parameters


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
    """The service has the question, and answers it whoever leaves; the first token may still take its time."""

    response_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Answering:
    """The answer begins, or is there already; `model` gives it, which can be another one than was asked."""

    from_cache: bool = False
    was_joined: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer, and of what the model thinks before it."""

    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with the model's reason (`stop`, `length`, …) or `cancelled`, and what was used.

    Tokens are 0 where the service does not tell.
    """

    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


Event = Started | Answering | Delta | Finished


class Asks(Protocol):
    """Whoever answers questions: `completion.Completions`. Every method raises `Trouble`."""

    def ask(self, question: Question) -> AsyncGenerator[Event]:
        """Yield the events of one answer; closing it leaves the answer to the service, which writes it to its end."""
        ...

    def take_up(self, response_id: str) -> AsyncGenerator[Event]:
        """Yield the events of an answer that was asked for by whomever, from its beginning."""
        ...

    async def cancel(self, response_id: str) -> None:
        """Stop an answer; its events then end as `cancelled`."""
        ...
