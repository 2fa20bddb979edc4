"""The interface of the store of responses."""

from collections.abc import Collection, Mapping
from typing import Protocol

from deployments.errors import ContextTooLong, NotFound
from deployments.history.types import Item, Order, Page
from deployments.responses.types import Batch, Claim, Continuation, Ending, Following, NewResponse, StoredResponse


class ResponseStore(Protocol):
    """Responses of tenants, whose items are items of conversations.

    Everywhere: an id of another tenant is `NotFound`, as is one that does not
    exist. `HistoryUnavailable` means that the store could not be reached in time,
    and whether a write happened is then unknown; every write may be repeated.
    `begin`, `end`, `continuation` and `add_events` are one round trip each.
    """

    async def begin(self, new: NewResponse) -> None:
        """Keep a response that has begun, with its input.

        NotFound: the conversation is gone. Conflict: the item that it continues is not (yet) there.
        """
        ...

    async def end(self, tenant: str, response_id: str, runner: str | None, ending: Ending) -> bool:
        """Keep how a response ended, with its output; a cancelled one stays cancelled.

        False, and nothing is written: it has ended already, has been deleted, or runs elsewhere by now.
        """
        ...

    async def continuation(self, tenant: str, response_id: str, max_items: int, max_bytes: int) -> Continuation:
        """Return the branch that ends in a response's last item, cut at the old end by count and bytes."""
        ...

    async def response(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response with its output."""
        ...

    async def input_items(
        self, tenant: str, response_id: str, after: str | None, limit: int, order: Order
    ) -> Page[Item]:
        """Return a page of the items that the response's own request brought."""
        ...

    async def items(self, tenant: str, ids: Collection[str], max_bytes: int) -> dict[str, Item]:
        """Return those of the tenant's items, of any conversation, that have these ids.

        ContextTooLong: together they have more than `max_bytes`.
        """
        ...

    async def delete(self, tenant: str, response_id: str) -> None:
        """Delete a response. Its items go with the last response of a hidden conversation; others stay."""
        ...

    async def cancel(self, tenant: str, response_id: str) -> StoredResponse:
        """Mark a background response as cancelled unless it has ended, and return it; its replica then stops it."""
        ...

    async def running(self, tenant: str, conversation_id: str, limit: int) -> list[StoredResponse]:
        """Return the background responses of a conversation that have not ended, the newest first, without output.

        NotFound: there is no such conversation, or it is a hidden one.
        """
        ...

    async def add_events(self, runner: str, batches: Mapping[str, Batch | None]) -> set[str]:
        """Give a sign of life of each response, and keep what has been generated since the last one.

        Those that are not returned are to stop: cancelled, deleted or given to another replica.
        """
        ...

    async def show(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response, and note that its events are seen from now on."""
        ...

    async def events(self, tenant: str, response_id: str, after: int, limit: int) -> Following:
        """Return the batches that hold events past the sequence number `after`, at most `limit`."""
        ...

    async def claim(self, runner: str, stale_s: float, limit: int) -> list[Claim]:
        """Take over background responses without a sign of life for `stale_s`; each goes to one caller.

        The events of those that nobody has seen are dropped.
        """
        ...

    async def release(self, runner: str) -> None:
        """Give up what a replica runs, so that others may claim it at once; that is no attempt which has failed."""
        ...

    async def sweep(self, events_ttl_s: float, waiting_s: float) -> None:
        """Drop events older than `events_ttl_s`; what a client has waited for longer than `waiting_s` has failed."""
        ...


def no_response(response_id: str) -> NotFound:
    """Return the error for a response that is not there, or not this tenant's."""
    return NotFound(f"Response with id '{response_id}' not found.")


def too_many_bytes(max_bytes: int) -> ContextTooLong:
    """Return the error for items that are too large together."""
    return ContextTooLong(f"The items that the input refers to have more than {max_bytes} bytes.", "input")


LOST = {"code": "server_error", "message": "The server that generated this response was lost."}
"""The error of a response whose replica ended before it did."""
