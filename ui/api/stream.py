"""The events of a streamed answer; separate from `completion`, whose import is slow."""

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
    """The service has accepted the question and answers it even if the client disconnects."""

    response_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The model is busy: so many requests go first, counted from 1, which takes about `wait_s` (None: unknown)."""

    position: int
    wait_s: float | None


@dataclass(frozen=True, slots=True)
class Answering:
    """The answer begins, or is already there; `model` may differ from the requested one."""

    from_cache: bool = False
    was_joined: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next part of the answer or of the reasoning before it."""

    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with the finish reason (`stop`, `length`, …) or `cancelled`, and the usage.

    Token counts are 0 if the service does not report them.
    """

    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


Event = Started | Queued | Answering | Delta | Finished


class Asks(Protocol):
    """A client for streamed answers: `completion.Completions`. Every method raises `ApiError`."""

    def ask(self, question: Question) -> AsyncGenerator[Event]:
        """Yield the events of one answer. Closing the generator does not stop the answer."""
        ...

    def take_up(self, response_id: str) -> AsyncGenerator[Event]:
        """Yield the events of an existing answer from its beginning, whoever requested it."""
        ...

    async def cancel(self, response_id: str) -> None:
        """Stop an answer; its events then end as `cancelled`."""
        ...
