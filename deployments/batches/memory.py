"""Batches in memory, with the promises of store.py but for durability: for tests and trials."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployments.batches.memory_lines import NEVER, KeptBatch, KeptLine
from deployments.batches.store import no_batch, too_many
from deployments.batches.types import (
    OPEN,
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
from deployments.errors import HistoryUnavailable
from deployments.files.memory import MemoryFiles
from deployments.files.types import StoredFile
from deployments.history.store import no_cursor
from deployments.history.types import Page


class MemoryBatches:
    """The store as a dictionary; while `is_away` is set every call is `HistoryUnavailable`."""

    def __init__(self, files: MemoryFiles) -> None:
        """`files` is where the output of a batch is written."""
        self.is_away = False
        self._files = files
        self._kept: dict[str, KeptBatch] = {}
        self._watch = "", NEVER

    async def create(self, batch: Batch, max_open: int | None) -> None:
        """Keep a new batch."""
        self._check()
        mine = [kept for kept in self._kept.values() if kept.batch.tenant == batch.tenant]
        is_new, is_open = batch.id not in self._kept, sum(kept.batch.status in OPEN for kept in mine)
        if max_open is not None and is_new and is_open >= max_open:
            raise too_many(max_open)
        self._kept.setdefault(batch.id, KeptBatch(batch))

    async def batch(self, tenant: str, batch_id: str) -> Batch:
        """Return one batch."""
        return self._of(tenant, batch_id).batch

    async def batches(self, tenant: str, after: str | None, limit: int) -> Page[Batch]:
        """Return a page, the newest first."""
        self._check()
        mine = [kept.batch for kept in self._kept.values() if kept.batch.tenant == tenant]
        mine = sorted(mine, key=lambda batch: (batch.created_at, batch.id), reverse=True)
        if after is not None:
            ids = [batch.id for batch in mine]
            if after not in ids:
                raise no_cursor(after)
            mine = mine[ids.index(after) + 1 :]
        return Page.of(mine[: limit + 1], limit)

    async def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Begin to cancel a batch."""
        kept = self._of(tenant, batch_id)
        if kept.batch.status in ("validating", "in_progress"):
            kept.batch = replace(kept.batch, status="cancelling", cancelling_at=datetime.now(UTC))
            kept.lease_until = NEVER
        return kept.batch

    async def take(self, runner: str, lease_s: float) -> Batch | None:
        """Take a batch that needs a replica."""
        self._check()
        for kept in sorted(self._kept.values(), key=lambda one: (self._under_way(one.batch), one.batch.created_at)):
            if kept.batch.status not in OPEN or kept.lease_until >= time.monotonic():
                continue
            now, has_expired = datetime.now(UTC), kept.batch.expires_at < datetime.now(UTC)
            if kept.batch.status == "in_progress":
                if not (has_expired or kept.is_answered):
                    continue
                expired_at = None if kept.is_answered else now
                kept.batch = replace(kept.batch, status="finalizing", finalizing_at=now, expired_at=expired_at)
            kept.batch = replace(kept.batch, fence=kept.batch.fence + 1)
            kept.lease_until = time.monotonic() + lease_s
            return kept.batch
        return None

    async def add_lines(self, batch: Batch, lines: Sequence[NewLine], lease_s: float) -> bool:
        """Add lines of a batch that is validated."""
        kept = self._mine(batch)
        if kept is None or kept.batch.status != "validating":
            return False
        kept.lease_until = time.monotonic() + lease_s
        for line in lines:
            kept.lines.setdefault(line.number, KeptLine(line))
        return True

    async def start(self, batch: Batch, total: int, model: str | None) -> bool:
        """Begin to answer the lines."""
        kept = self._mine(batch)
        if kept is None or kept.batch.status != "validating":
            return False
        now = datetime.now(UTC)
        kept.batch = replace(kept.batch, status="in_progress", in_progress_at=now, total=total, model=model)
        kept.lease_until = NEVER
        return True

    async def fail(self, batch: Batch, errors: Sequence[LineError]) -> bool:
        """End a batch whose input is not valid."""
        kept = self._mine(batch)
        if kept is None or kept.batch.status != "validating":
            return False
        kept.batch = replace(kept.batch, status="failed", failed_at=datetime.now(UTC), errors=tuple(errors))
        kept.lines.clear()
        return True

    async def claim(self, runner: str, limit: int, lease_s: float, skipped: Collection[str]) -> list[ClaimedLine]:
        """Take lines without an answer."""
        self._check()
        now, running, free = time.monotonic(), Counter[str](), list[tuple[KeptBatch, KeptLine]]()
        for kept in sorted(self._kept.values(), key=lambda kept: kept.batch.created_at):
            has_time = kept.batch.expires_at > datetime.now(UTC)
            if kept.batch.status != "in_progress" or not has_time or kept.batch.id in skipped:
                continue
            for number in sorted(kept.lines):
                line = kept.lines[number]
                running[kept.batch.tenant] += line.is_open and line.runner is not None
                if line.is_open and line.lease_until < now:
                    free.append((kept, line))
        placed: list[tuple[int, KeptBatch, KeptLine]] = []
        for kept, line in free:
            running[kept.batch.tenant] += 1
            placed.append((running[kept.batch.tenant], kept, line))
        chosen = sorted(placed, key=lambda each: each[0])[:limit]
        for _, _, line in chosen:
            line.runner, line.fence, line.attempts = runner, line.fence + 1, line.attempts + 1
            line.lease_until = now + lease_s
        return [kept.claimed(line) for _, kept, line in chosen]

    async def renew(self, runner: str, claims: Sequence[Claim], lease_s: float) -> set[Claim]:
        """Keep the leases of lines."""
        mine: set[Claim] = set()
        for claim, kept, line in self._held(runner, claims):
            if kept.batch.status == "in_progress":
                line.lease_until = time.monotonic() + lease_s
                mine.add(claim)
        return mine

    async def give_back(self, runner: str, claims: Sequence[Claim], delay_s: float, *, is_counted: bool) -> None:
        """Let lines be claimed again."""
        for _, _, line in self._held(runner, claims):
            line.runner, line.lease_until = None, time.monotonic() + delay_s
            line.attempts -= not is_counted

    async def give_back_others(self, runner: str, held: Sequence[Claim]) -> None:
        """Let lines be claimed again that this replica does not know to be its own."""
        self._check()
        for kept in self._kept.values():
            for number, line in kept.lines.items():
                if line.is_held_by(runner, claim := Claim(kept.batch.id, number, line.fence)) and claim not in held:
                    line.runner, line.lease_until, line.attempts = None, NEVER, line.attempts - 1

    async def settle(self, runner: str, outcomes: Sequence[Outcome]) -> set[Claim]:
        """Write the outcomes of lines."""
        written: set[Claim] = set()
        for outcome in outcomes:
            for claim, kept, line in self._held(runner, [outcome.claim]):
                line.is_open, line.text, line.is_error = False, outcome.text, outcome.is_error
                batch = kept.batch
                kept.batch = replace(
                    batch,
                    completed=batch.completed + (not outcome.is_error),
                    failed=batch.failed + outcome.is_error,
                    tokens=batch.tokens + outcome.tokens,
                )
                written.add(claim)
        return written

    async def close_lines(self, batch: Batch, lease_s: float) -> bool:
        """Let no line of a batch have an outcome any more."""
        if (kept := self._mine(batch)) is None:
            return False
        kept.lease_until = time.monotonic() + lease_s
        for line in kept.lines.values():
            line.is_open = False
        return True

    async def done_lines(self, batch: Batch, after: int, limit: int, max_bytes: int) -> list[DoneLine]:
        """Return the lines past a number in order."""
        self._check()
        lines = [(number, line) for number, line in sorted(self._kept[batch.id].lines.items()) if number > after]
        found: list[DoneLine] = []
        size = 0
        for number, line in lines[:limit]:
            size += len(line.text or b"")
            if found and size > max_bytes:
                break
            found.append(DoneLine(number, line.line.custom_id, line.text, line.is_error))
        return found

    async def renew_batch(self, batch: Batch, lease_s: float) -> bool:
        """Keep the lease of a batch."""
        if (kept := self._mine(batch)) is None:
            return False
        kept.lease_until = time.monotonic() + lease_s
        return True

    async def finish(self, batch: Batch, output: StoredFile | None, errors: StoredFile | None) -> bool:
        """End a batch."""
        kept = self._mine(batch)
        if kept is None or kept.batch.status not in ("finalizing", "cancelling"):
            return False
        for file in (output, errors):
            if file is not None:
                await self._files.finish(file)
        now = datetime.now(UTC)
        kept.batch = replace(
            kept.batch,
            status=batch.ending,
            output_file_id=output.id if output else None,
            error_file_id=errors.id if errors else None,
            completed_at=now if batch.ending == "completed" else None,
            cancelled_at=now if batch.ending == "cancelled" else None,
        )
        kept.lines.clear()
        return True

    async def sweep(self, older_s: float) -> None:
        """Delete old batches."""
        self._check()
        before = datetime.now(UTC) - timedelta(seconds=older_s)
        for id_, kept in list(self._kept.items()):
            if kept.batch.created_at < before and kept.batch.status not in OPEN:
                del self._kept[id_]

    async def open_batches(self, after: str | None, limit: int) -> Page[OpenBatch]:
        """Return a page of what has not ended, the oldest first."""
        self._check()
        found = sorted(self._kept.values(), key=lambda kept: (kept.batch.created_at, kept.batch.id))
        if after is not None:
            ids = [kept.batch.id for kept in found]
            if after not in ids:
                raise no_cursor(after)
            found = found[ids.index(after) + 1 :]
        still = [OpenBatch(kept.batch, kept.running) for kept in found if kept.batch.status in OPEN]
        return Page.of(still[: limit + 1], limit)

    async def figures(self, runner: str, lease_s: float) -> BatchFigures | None:
        """Sum up what has not ended."""
        self._check()
        now, (watcher, until) = time.monotonic(), self._watch
        if watcher != runner and until > now:
            return None
        self._watch = runner, now + lease_s
        still = [kept for kept in self._kept.values() if kept.batch.status in OPEN]
        answering = [kept for kept in still if kept.batch.status == "in_progress"]
        running = sum(kept.running for kept in answering)
        return BatchFigures(
            Counter(kept.batch.status for kept in still),
            waiting=sum(line.is_open for kept in answering for line in kept.lines.values()) - running,
            running=running,
            oldest_s=max((kept.age_s for kept in still), default=0.0),
        )

    def _under_way(self, batch: Batch) -> int:
        """Return how many batches go on beside one of the same tenant that is to be validated."""
        mine = [kept.batch.status for kept in self._kept.values() if kept.batch.tenant == batch.tenant]
        return mine.count("in_progress") + mine.count("finalizing") if batch.status == "validating" else 0

    def _check(self) -> None:
        if self.is_away:
            raise HistoryUnavailable(retry_after_s=1.0)

    def _of(self, tenant: str, batch_id: str) -> KeptBatch:
        self._check()
        kept = self._kept.get(batch_id)
        if kept is None or kept.batch.tenant != tenant:
            raise no_batch(batch_id)
        return kept

    def _mine(self, batch: Batch) -> KeptBatch | None:
        self._check()
        kept = self._kept.get(batch.id)
        return kept if kept is not None and kept.batch.fence == batch.fence else None

    def _held(self, runner: str, claims: Sequence[Claim]) -> list[tuple[Claim, KeptBatch, KeptLine]]:
        self._check()
        held: list[tuple[Claim, KeptBatch, KeptLine]] = []
        for claim in claims:
            kept = self._kept.get(claim.batch_id)
            line = kept.lines.get(claim.number) if kept else None
            if kept and line and line.is_held_by(runner, claim):
                held.append((claim, kept, line))
        return held
