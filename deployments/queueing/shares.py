"""What of a model's capacity each ingress replica may fill: leases in a store that all of them share.

A replica tells what it wants, and has what is fair of it: no one more than another, except what others do not want
(max-min fairness). What nobody wants is shared equally, so that a replica that was idle has places at once; of these
it keeps few from others, so that the sum can exceed the capacity until it has renewed its lease. Each has at least one.
A replica that is gone loses its share with its lease.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Share:
    """How many places a replica has, of how many in all."""

    places: int
    capacity: int

    def of(self, capacity: int) -> int:
        """Return the share of another capacity, which the model has had since."""
        return self.places if capacity == self.capacity else max(1, self.places * capacity // self.capacity)


class CapacityStore(Protocol):
    """The shares of all replicas. Every method of a remote one raises `StoreError` and nothing else."""

    async def renew(self, model: str, replica: str, capacity: int, wanted: int, filled: int) -> Share:
        """Keep a replica's lease of a model's places for another while, and return its share.

        It wants `wanted` places; `filled` of them are, which it keeps until they are empty.
        """
        ...

    async def release(self, model: str, replica: str) -> None:
        """Give a replica's share back."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def fair_share(capacity: int, wanted: Mapping[str, int], replica: str) -> int:
    """Return what is fair for one of the replicas, by what each wants; at least 1."""
    left, share = capacity, 0
    ordered = sorted(wanted.items(), key=lambda each: (each[1], each[0]))
    for at, (name, want) in enumerate(ordered):
        given = min(want, left // (len(ordered) - at))
        left -= given
        share = given if name == replica else share
    return max(1, share + left // len(ordered))


def withheld(share: int, wanted: int) -> int:
    """Return how much of a share others are kept from: what is wanted, and a quarter for what may come soon."""
    return min(share, wanted + max(1, share // 4))


@dataclass(slots=True)
class _Lease:
    wanted: int
    places: int
    expires: float


class MemoryCapacity:
    """The shares of replicas in one process, with the promises of the store in Redis: for tests and trials."""

    def __init__(self, clock: Callable[[], float], lease_s: float = 5.0) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._leases: dict[str, dict[str, _Lease]] = {}

    async def renew(self, model: str, replica: str, capacity: int, wanted: int, filled: int) -> Share:
        now = self._clock()
        leases = {name: one for name, one in self._leases.get(model, {}).items() if one.expires > now}
        others = {name: one for name, one in leases.items() if name != replica}
        wants = {**{name: one.wanted for name, one in others.items()}, replica: wanted}
        free = capacity - sum(one.places for one in others.values())
        share = max(1, min(fair_share(capacity, wants, replica), free))
        leases[replica] = _Lease(wanted, max(filled, withheld(share, wanted)), now + self._lease_s)
        self._leases[model] = leases
        return Share(share, capacity)

    async def release(self, model: str, replica: str) -> None:
        self._leases.get(model, {}).pop(replica, None)

    async def aclose(self) -> None: ...
