"""What the store of responses takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Self

from deployments.history.types import ROOT, Context, NewItem

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

ANSWERED_BY = "answered_by"
"""Where a stored request names the fallback that answered it."""
UNFINISHED: frozenset[str] = frozenset({"queued", "in_progress"})


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response that begins, with its input.

    Each item of `input` names its parent, the first one the item that the
    response continues, which is `parent_id`. `has_own_conversation` says that the conversation is a
    hidden one, to be made now. `request` is what was asked, without the input.
    `runner` names the replica that runs it in the background; None: a client waits.
    """

    id: str
    tenant: str
    key_id: str
    conversation_id: str
    has_own_conversation: bool
    previous_id: str | None
    request: dict[str, Any]
    created_at: datetime
    input: Sequence[NewItem]
    status: Status = "in_progress"
    runner: str | None = None
    is_shown: bool = False
    parent_id: str = ROOT

    @property
    def leaf_id(self) -> str:
        """The last item so far, after which the output stands."""
        return self.input[-1].id if self.input else self.parent_id


@dataclass(frozen=True, slots=True)
class Ending:
    """How a response ended.

    `answered_by` is a fallback that answered; None: the model that was asked for. `frames` are the last events of
    one in the background, up to `last_number`.
    """

    status: Status
    output: Sequence[NewItem]
    completed_at: datetime
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_reason: str | None = None
    answered_by: str | None = None
    frames: bytes | None = None
    last_number: int = -1


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is stored; `output` holds whole items in OpenAI's shape."""

    id: str
    tenant: str
    key_id: str
    conversation_id: str
    is_hidden: bool
    previous_id: str | None
    leaf_id: str
    status: Status
    request: dict[str, Any]
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    incomplete_reason: str | None
    created_at: datetime
    completed_at: datetime | None
    output: tuple[dict[str, Any], ...] = ()

    @property
    def is_background(self) -> bool:
        return bool(self.request.get("background"))

    @property
    def model(self) -> str:
        """Who answers: the model that was asked for, or the fallback that answered in its place."""
        return str(self.fallback or self.request["model"])

    @property
    def fallback(self) -> str | None:
        """Who answered in place of the model that was asked for."""
        return self.request.get(ANSWERED_BY)

    def answered_by(self, model: str) -> Self:
        """Return it as the answer of a model, which need not be the one that was asked for."""
        return self if model == self.model else replace(self, request={**self.request, ANSWERED_BY: model})


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a response was, for one that continues it: where it stands, and the items up to its last."""

    conversation_id: str
    is_hidden: bool
    status: str
    context: Context


@dataclass(frozen=True, slots=True)
class Claim:
    """A response in the background whose replica was lost, now this one's.

    `was_shown` says that a client has seen some of its events, of which
    `last_number` is the last: it cannot be run again.
    """

    response: StoredResponse
    was_shown: bool
    last_number: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of a stream, finished frames, the last of which has the sequence number `last_number`."""

    last_number: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class Following:
    """The batches after a number; `is_over` says that no more will come."""

    batches: tuple[Batch, ...]
    is_over: bool
