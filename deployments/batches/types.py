"""A batch, its lines, and what comes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from deployments.history.types import new_id

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
Ended = Literal["completed", "expired", "cancelled"]
OPEN: frozenset[Status] = frozenset({"validating", "in_progress", "finalizing", "cancelling"})

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
WINDOW = "24h"
WINDOW_S = 86_400.0


def new_batch_id() -> str:
    """Return an id that cannot be guessed."""
    return new_id("batch")


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with a line of the input; `line` counts from 1, None where it is about the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the answers of a batch have used."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, more: "Tokens") -> "Tokens":
        return Tokens(
            self.input + more.input,
            self.cached + more.cached,
            self.output + more.output,
            self.reasoning + more.reasoning,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands; each time is that of the status of its name."""

    tenant: str
    key_id: str
    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str] | None = None
    output_ttl_s: int | None = None
    """Seconds after which its output files expire; None: as long as other files are kept."""
    max_lines: int | None = None
    """Requests that its input may have; None: as many as the configuration says."""
    id: str = field(default_factory=new_batch_id)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: Status = "validating"
    model: str | None = None
    """What all lines name, None where they differ."""
    errors: Sequence[LineError] = ()
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: Tokens = Tokens()
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: datetime | None = None
    finalizing_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    expired_at: datetime | None = None
    cancelling_at: datetime | None = None
    cancelled_at: datetime | None = None
    fence: int = 0
    """Grows each time that a replica takes the batch: what an earlier one writes then is refused."""

    @property
    def expires_at(self) -> datetime:
        """When the lines that have no answer are given up."""
        return self.created_at + timedelta(seconds=WINDOW_S)

    @property
    def ending(self) -> Ended:
        """How it will have ended, for one that is being finished."""
        if self.cancelling_at is not None:
            return "cancelled"
        return "completed" if self.expired_at is None else "expired"


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that has not ended, and how many of its lines are being answered."""

    batch: Batch
    running: int

    @property
    def id(self) -> str:
        """The batch's id, by which a list goes on."""
        return self.batch.id

    def expected_end(self, now: datetime) -> datetime | None:
        """Return when its last line will have an answer, at the mean rate since the first; None: there is none yet."""
        batch = self.batch
        done = batch.completed + batch.failed
        if batch.status != "in_progress" or batch.in_progress_at is None or not done:
            return None
        return now + (now - batch.in_progress_at) / done * (batch.total - done)


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """All batches that have not ended, of all tenants: how many by status, their lines, the seconds since the first."""

    open: Mapping[Status, int]
    waiting: int
    running: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class NewLine:
    """A request of the input, by the number of its line; `body` is JSON."""

    number: int
    custom_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ClaimedLine:
    """A line that one replica answers, until its lease lapses; `attempts` counts this one."""

    batch_id: str
    number: int
    fence: int
    tenant: str
    key_id: str
    endpoint: str
    custom_id: str
    body: bytes
    attempts: int

    @property
    def claim(self) -> "Claim":
        """What identifies it in the store."""
        return Claim(self.batch_id, self.number, self.fence)


@dataclass(frozen=True, slots=True)
class Claim:
    """A replica's hold on a line: another one that takes the line later has a higher fence."""

    batch_id: str
    number: int
    fence: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a line: the line of the output or error file that it becomes."""

    claim: Claim
    text: bytes
    is_error: bool
    tokens: Tokens = Tokens()


@dataclass(frozen=True, slots=True)
class DoneLine:
    """A line of a batch that is being finished; without `text` it was never answered."""

    number: int
    custom_id: str
    text: bytes | None
    is_error: bool


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What the service answered to a line: as HTTP would have it."""

    status: int
    request_id: str
    body: bytes
    """JSON, as it was sent."""
    retry_after_s: float | None = None
    may_succeed_later: bool = True
