"""A batch in memory, with its lines."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from deployments.batches.types import Batch, Claim, ClaimedLine, NewLine

NEVER = float("-inf")


@dataclass
class KeptLine:
    line: NewLine
    is_open: bool = True
    text: bytes | None = None
    is_error: bool = False
    attempts: int = 0
    runner: str | None = None
    fence: int = 0
    lease_until: float = NEVER

    def is_held_by(self, runner: str, claim: Claim) -> bool:
        return self.is_open and self.runner == runner and self.fence == claim.fence


@dataclass
class KeptBatch:
    batch: Batch
    lease_until: float = NEVER
    lines: dict[int, KeptLine] = field(default_factory=dict[int, KeptLine])

    @property
    def is_answered(self) -> bool:
        return not any(line.is_open for line in self.lines.values())

    @property
    def running(self) -> int:
        return sum(line.is_open and line.runner is not None for line in self.lines.values())

    @property
    def age_s(self) -> float:
        return (datetime.now(UTC) - self.batch.created_at).total_seconds()

    def claimed(self, line: KeptLine) -> ClaimedLine:
        batch, new = self.batch, line.line
        return ClaimedLine(
            batch.id,
            new.number,
            line.fence,
            batch.tenant,
            batch.key_id,
            batch.endpoint,
            new.custom_id,
            new.body,
            line.attempts,
        )
