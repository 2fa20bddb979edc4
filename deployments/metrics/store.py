"""Where ingress replicas leave their figures for each other, each under a name of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from deployments.metrics.queues import Waiting

TTL_S = 3700.0
"""How long the figures of a replica stay that is there no more: they belong to the last hour all the same."""
MAX_REPLICAS = 256
"""How many are read; of more, those that published last."""


class State(msgspec.Struct, array_like=True, frozen=True):
    """A replica at the moment of its publishing: what its own clock showed (seconds), and its requests in flight.

    `queues` has what waits by model and priority; a replica of the version before leaves it out.
    """

    clock: float
    began_at: float
    running: int
    queues: dict[str, dict[str, Waiting]] = {}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store's time (Unix seconds) of a publishing; `was_known` is false where the store had nothing of it."""

    at: float
    was_known: bool


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """What a replica has left: packed buckets and errors, and its state at `seen_at` by the store's clock."""

    id: str
    seen_at: float
    state: State
    buckets: list[bytes]
    faults: bytes = b""

    @property
    def offset_s(self) -> float:
        """What is to be added to the replica's clock to get the store's, which is the same for all."""
        return self.seen_at - self.state.clock


@dataclass(frozen=True, slots=True)
class Readings:
    """What all replicas have left; `is_whole` is false where some of it was left out or could not be read."""

    now: float
    replicas: list[ReplicaFigures]
    is_whole: bool = True


class FigureStore(Protocol):
    """Figures of all replicas. Every method of a remote one raises `StoreError` and nothing else."""

    async def publish(self, replica: str, state: State, places: Mapping[str, bytes], *, is_first: bool) -> Receipt:
        """Put a replica's figures in their places, beside those that lie in its other places.

        Places are the numbers from 0 to 719, and "faults". `is_first` asks to tidy up after replicas that are gone.
        """
        ...

    async def read(self, since: float) -> Readings:
        """Return the figures of all replicas from a time on (by the store's clock), and possibly older ones."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
