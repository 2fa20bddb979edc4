"""The interface of the store of batches."""

from collections.abc import Collection, Sequence
from typing import Protocol

from deployments.batches.types import (
    Batch,
    BatchFigures,
    Claim,
    ClaimedLine,
    DoneLine,
    LineError,
    NewLine,
    OpenBatch,
    Outcome,
)
from deployments.errors import NotFound, TooManyRequests
from deployments.files.types import StoredFile
from deployments.history.types import Page


class BatchStore(Protocol):
    """Batches of tenants, and their lines.

    Everywhere: an id of another tenant is `NotFound`, as is one that does not exist. `HistoryUnavailable` means that
    the store could not be reached in time, and whether a write happened is then unknown; every write may be repeated.

    Work is held under leases. A replica that takes a batch, or a line, gets a fence with it, higher than any before:
    what is written under an older one is refused, so that each line has one outcome, whoever was thought dead.
    """

    async def create(self, batch: Batch, max_open: int | None) -> None:
        """Keep a new batch; TooManyRequests where the tenant has `max_open` that have not ended, None for no bound.

        The bound is exact, however many are created at once.
        """
        ...

    async def batch(self, tenant: str, batch_id: str) -> Batch:
        """Return one batch."""
        ...

    async def batches(self, tenant: str, after: str | None, limit: int) -> Page[Batch]:
        """Return a page of the tenant's batches, the newest first; NotFound for an unknown `after`."""
        ...

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Begin to cancel a batch that is validating or in progress, and return it; another one stays as it is."""
        ...

    async def take(self, runner: str, lease_s: float) -> Batch | None:
        """Take a batch that needs a replica: to be validated, or to be finished. None: there is none.

        To be finished are those whose lines have all been answered, whose window has passed, or that are cancelled.
        They are finalizing from now on, the cancelled ones cancelling. To be validated is first what is of tenants
        with the fewest batches under way.
        """
        ...

    async def add_lines(self, batch: Batch, lines: Sequence[NewLine], lease_s: float) -> bool:
        """Add lines of a batch that is validated, and keep its lease; False: it is another's, or cancelled."""
        ...

    async def start(self, batch: Batch, total: int, model: str | None) -> bool:
        """Begin to answer the lines; False: it is another's, or cancelled."""
        ...

    async def fail(self, batch: Batch, errors: Sequence[LineError]) -> bool:
        """End a batch whose input is not valid; False: it is another's, or cancelled."""
        ...

    async def claim(self, runner: str, limit: int, lease_s: float, skipped: Collection[str]) -> list[ClaimedLine]:
        """Take up to `limit` lines without an answer that nobody holds, of batches that are not `skipped`.

        Tenants come in turn: the one with the fewest lines under way first.
        """
        ...

    async def renew(self, runner: str, claims: Sequence[Claim], lease_s: float) -> set[Claim]:
        """Keep the leases of lines, and return those that are still this replica's to answer."""
        ...

    async def give_back(self, runner: str, claims: Sequence[Claim], delay_s: float, *, is_counted: bool) -> None:
        """Let lines be claimed again, after a while; the attempt counts if `is_counted`."""
        ...

    async def give_back_others(self, runner: str, held: Sequence[Claim]) -> None:
        """Let all lines of this replica but `held` be claimed again, and their attempt not count.

        For what it does not know to be its own, since the reply to a claim was lost.
        """
        ...

    async def settle(self, runner: str, outcomes: Sequence[Outcome]) -> set[Claim]:
        """Write the outcomes of lines; those that are not returned have one already, or are another's."""
        ...

    async def close_lines(self, batch: Batch, lease_s: float) -> bool:
        """Accept no more outcomes for the lines of a batch, and renew its lease; False if another replica has it."""
        ...

    async def done_lines(self, batch: Batch, after: int, limit: int, max_bytes: int) -> list[DoneLine]:
        """Return the lines past the number `after` in order: at most `limit`, and about `max_bytes` of them."""
        ...

    async def renew_batch(self, batch: Batch, lease_s: float) -> bool:
        """Renew the lease of a batch; False if another replica has it."""
        ...

    async def finish(self, batch: Batch, output: StoredFile | None, errors: StoredFile | None) -> bool:
        """End a batch as `batch.ending` says, show its files, and drop its lines; False if another replica has it."""
        ...

    async def sweep(self, older_s: float) -> None:
        """Delete batches that were created longer ago than that, and have ended."""
        ...

    async def open_batches(self, after: str | None, limit: int) -> Page[OpenBatch]:
        """Return a page of the batches of all tenants that have not ended, the oldest first.

        NotFound for an unknown `after`; one that has ended meanwhile is known.
        """
        ...

    async def figures(self, runner: str, lease_s: float) -> BatchFigures | None:
        """Sum up what has not ended, if it is this replica's turn; None while another one has done so lately.

        Who has the turn keeps it by asking again within `lease_s`.
        """
        ...


def no_batch(batch_id: str) -> NotFound:
    """Return the error for a batch that is not there, or not this tenant's."""
    return NotFound(f"No batch found with id '{batch_id}'.", "id")


def too_many(max_open: int) -> TooManyRequests:
    """Return the error for a tenant that has as many open batches as it may."""
    return TooManyRequests(
        f"This key has {max_open} batches that have not ended, as many as it may. Wait for one of them to end, or "
        "cancel one.",
        None,
        60.0,
    )
