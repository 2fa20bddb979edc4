"""A file as it is stored, and one that is being written."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from deployments.history.types import new_id

Purpose = Literal["batch", "batch_output"]

CHUNK_BYTES = 1_048_576
"""Files are kept in chunks of this size, the last one smaller; nothing holds more than one of them in memory."""


def new_file_id() -> str:
    """Return an id that cannot be guessed, in the form of OpenAI's."""
    return new_id("file").replace("_", "-", 1)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file without its content; `expires_at` None is never."""

    tenant: str
    filename: str
    purpose: Purpose
    expires_at: datetime | None = None
    bytes: int = 0
    created_at: datetime = field(default_factory=_now)
    id: str = field(default_factory=new_file_id)


@dataclass(frozen=True, slots=True)
class FilesUsed:
    """What a tenant's files take, those being written included."""

    bytes: int
    files: int


def in_days(days: float) -> datetime:
    """Return when a file that is kept for so long expires."""
    return _now() + timedelta(days=days)
