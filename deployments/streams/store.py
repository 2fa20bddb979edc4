"""Where the logs of resumable streams are kept, as the service needs it.

A stream has one owner, the ingress replica that generates it. A log is kept for a while after its last sign of life;
its name tells neither the stream's id nor its tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Protocol

State = Literal["running", "ended", "cancelled"]
Appended = Literal["running", "cancelled", "taken", "missing"]
"""What an owner is told: it goes on, was stopped by its client, has lost the stream to another, or the log is gone."""


@dataclass(frozen=True, slots=True)
class StreamName:
    """What a log is called: hashes of the tenant and of the id, so that who can list names can read no stream."""

    tenant: str
    stream: str

    @classmethod
    def of(cls, tenant: str, stream_id: str) -> "StreamName":
        """Return the name of a tenant's stream; under another tenant the same id is another name."""
        tenant_hash = blake2b(tenant.encode(), digest_size=12).hexdigest()
        return cls(tenant_hash, blake2b(f"{tenant}\n{stream_id}".encode(), digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class NewLog:
    """A log to be opened: `request` is what another owner needs to go on (empty: none can)."""

    name: StreamName
    key_id: str
    owner: bytes
    request: bytes
    ttl_s: float
    max_of_key: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The next events of a log, or a mere sign of life; `end` is the number after the stream's last event so far."""

    name: StreamName
    key_id: str
    owner: bytes
    frames: bytes
    end: int
    ttl_s: float
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What is known of a stream; `frames` are its numbered events so far, with gaps where they were lost."""

    owner: bytes
    state: State
    request: bytes
    frames: Sequence[bytes]
    losses: int = 0
    """How often it was taken over from a replica that was lost."""


class StreamStore(Protocol):
    """The logs of all replicas. Every method of a remote one raises `StoreError` and nothing else."""

    async def open(self, log: NewLog) -> bool:
        """Open a log; False if its key has as many as it may. Opening it again changes nothing but its owner."""
        ...

    async def append(self, batches: Sequence[Batch]) -> list[Appended]:
        """Add the next events of several logs; a batch that is there already changes nothing."""
        ...

    async def read(self, name: StreamName) -> StreamRecord | None:
        """Return a stream with all its events, None if there is none of that name, or it has ended and lacks some.

        A running one that lacks some has no request: nobody can go on with it.
        """
        ...

    async def take(self, name: StreamName, lost: bytes, owner: bytes) -> bytes:
        """Make `owner` the owner of a running stream in place of `lost`; return who owns it now, b"" for nobody."""
        ...

    async def cancel(self, name: StreamName) -> bool:
        """Drop a log, and let its owner find that out; False if there is none."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
