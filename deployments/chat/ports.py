"""What the chat service needs of the stores and machines behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from deployments.chat.call import ChatCall
from deployments.config import ModelPolicy
from deployments.lora.types import Adapter
from deployments.models.holding import Hold
from deployments.models.protocol import ModelRequest, Put
from deployments.queueing.job import Job


class Turn(Protocol):
    """One exchange in a conversation, or outside of any."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Everything that the model is to read, oldest first, in OpenAI's chat shape."""
        ...

    @property
    def may_trim(self) -> bool:
        """Whether the messages come from a conversation, whose oldest may be left out to fit the window."""
        ...

    @property
    def keeps_answer(self) -> bool:
        """Whether `complete` and `interrupt` do anything; else an answer need not be decoded for them."""
        ...

    def accept(self) -> None:
        """Note that an answer has begun: the request's own messages are kept from now on, and `messages` not needed.

        Returns at once. Raises HistoryUnavailable when too many writes wait already.
        """
        ...

    async def complete(self, completion: Mapping[str, Any]) -> None:
        """Keep the whole answer (a `chat.completion`), all of which has been sent but for the stream's end.

        Returns once the next turn would read it; if that takes too long, it is written behind.
        """
        ...

    def interrupt(self, completion: Mapping[str, Any]) -> None:
        """Keep what there is of an answer that ended early, marked as incomplete. Returns at once."""
        ...


class NoTurn:
    """The turn of a request that belongs to no conversation: nothing was said before, and nothing is kept."""

    may_trim = False
    keeps_answer = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        return []

    def accept(self) -> None: ...

    async def complete(self, completion: Mapping[str, Any]) -> None: ...

    def interrupt(self, completion: Mapping[str, Any]) -> None: ...


class Conversations(Protocol):
    """What was said before."""

    async def open(self, call: ChatCall, max_messages: int) -> Turn:
        """Return the turn that `call` begins, in one round trip at most (none outside a conversation).

        Raises NotFound for a conversation that this tenant does not have and
        HistoryUnavailable when the store does not answer in time.
        """
        ...


class Models(Protocol):
    """What can generate."""

    def resolve(self, name: str | None) -> str:
        """Return the id of the model that a request names (the default one for None). Raises ModelNotFound."""
        ...

    def identity(self, model: str) -> str:
        """Return what distinguishes this model's answers from any other's: weights, engine arguments, versions."""
        ...

    def adapter(self, model: str) -> Adapter | None:
        """Return the adapter that was loaded under this id while the service runs; None for all other models."""
        ...

    def policy(self, model: str) -> ModelPolicy:
        """Return how requests to a model are handled, as its settings say now; raises ModelNotFound."""
        ...

    def routes_by_prompt(self, model: str) -> bool:
        """Return whether a request must say what its prompt begins with: not while one replica answers all of them."""
        ...

    def fallback(self, model: str) -> Sequence[str]:
        """Return the models that answer instead while this one is loading, has failed or refuses for capacity."""
        ...

    async def hold(self, model: str, wait_s: float | None) -> Hold | None:
        """Return a request's place among those that wait for the model's replica, at most `wait_s`; None if one runs.

        It must be closed. Raises ModelFailed, and ModelLoading where the request is not to wait or none may any more.
        """
        ...

    async def generate(self, model: str, request: ModelRequest, put: Put, job: Job | None = None) -> None:
        """Pass the messages of an answer to `put` and return after the last; cancelling aborts the work in the engine.

        While the model's engines are full it waits in the order of the queue, as `job`; None for one of its own key.
        Waits while the model has no replica: whoever reads the answer bounds that (`hold`). Raises ModelFailed,
        Overloaded, TooManyRequests, Unavailable or Timeout, at any point.
        """
        ...
