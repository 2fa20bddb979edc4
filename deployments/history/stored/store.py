"""What a stored completion is, and the interface of its store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.errors import NotFound
from deployments.history.types import Order, Page


@dataclass(frozen=True, slots=True)
class NewCompletion:
    """A completion to keep: its `payload` holds `completion`, the `messages` that were asked, and `metadata`."""

    id: str
    payload: dict[str, Any]

    @classmethod
    def of(
        cls, completion: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]
    ) -> "NewCompletion":
        """Return what to keep of an answer, a whole `chat.completion`."""
        kept = {"completion": dict(completion), "messages": list(messages), "metadata": dict(metadata)}
        return cls(str(completion["id"]), kept)


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """A stored completion in OpenAI's shape, its metadata apart."""

    id: str
    completion: dict[str, Any]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One of the messages that a stored completion answered, in OpenAI's chat shape."""

    id: str
    message: dict[str, Any]


class CompletionStore(Protocol):
    """Stored completions, each of one tenant.

    Another tenant's id is `NotFound`; `HistoryUnavailable` means that the store
    could not be reached in time and that a write's outcome is unknown: each may be repeated.
    """

    async def append(self, tenant: str, completion_id: str, items: Sequence[NewCompletion]) -> object:
        """Add completions; one whose id is known already is left as it is."""
        ...

    async def completions(
        self,
        tenant: str,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[StoredCompletion]:
        """Return a page in the order of storing: of one model, and with all of these metadata, if given."""
        ...

    async def completion(self, tenant: str, completion_id: str) -> StoredCompletion:
        """Return one."""
        ...

    async def update_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> StoredCompletion:
        """Replace the metadata of one and return it."""
        ...

    async def delete(self, tenant: str, completion_id: str) -> None:
        """Delete one permanently, with its messages."""
        ...

    async def messages(
        self, tenant: str, completion_id: str, after: str | None = None, limit: int = 20, order: Order = "asc"
    ) -> Page[StoredMessage]:
        """Return a page of the messages that it answered."""
        ...


def no_completion(completion_id: str) -> NotFound:
    """Return the error for a completion that was not stored, or is not this tenant's."""
    return NotFound(f"No stored completion with id '{completion_id}' found.")


def message_id(completion_id: str, position: int) -> str:
    """Return the id of a completion's message, counted from 0."""
    return f"{completion_id}-{position}"


def position_of(completion_id: str, after: str) -> int:
    """Return the position, from 0, of the message that a page starts after; raises NotFound for any other id."""
    head, _, position = after.rpartition("-")
    if head != completion_id or not position.isascii() or not position.isdigit() or len(position) > 9:
        raise NotFound(f"Nothing with id '{after}' found to start after.", "after")
    return int(position)
