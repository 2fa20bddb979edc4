"""Where the state of keys' limits is kept, as the limiter needs it.

Both stores decide alike, under the same tests, and each decision is atomic:

- Requests and tokens are buckets that hold a minute's worth at most and fill
  continuously. A bucket may go below zero when a request used more than it was
  estimated at; then it has to fill up first. An estimate above a minute's worth
  needs a full bucket, so that no request is refused for ever.
- What runs at once is counted in sequences. A request holds a lease of one place for
  each of its sequences; places lapse unless they are renewed.
- The month's tokens are a count that the store may lose: it then asks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.keys.types import KeyLimits

Limit = Literal["requests_per_minute", "tokens_per_minute", "concurrent_requests", "tokens_per_month"]

UNKNOWN = -1
"""A month's count that nobody can tell now: the month's limit is not held for this request."""
RECOUNT_S = 3600.0
"""A month's count is asked for anew after this time, so that it cannot drift away from the recorded usage."""
CONCURRENT_WAIT_S = 1.0
"""How long a request that found too many running is told to wait: when one of them ends is unknown."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks of its key: `tokens` is an estimate, `lease` is "" where it does not count as running.

    `sequences` is how many places a lease has.
    """

    key_id: str
    limits: KeyLimits
    requests: int
    tokens: int
    lease: str
    month: str
    sequences: int = 1

    @property
    def places(self) -> list[str]:
        """Names of the places that the lease holds."""
        return [self.lease, *(f"{self.lease}#{at}" for at in range(2, self.sequences + 1))] if self.lease else []

    @property
    def reserved(self) -> int:
        """Tokens that are taken from the bucket of the minute until the request has ended."""
        return min(self.tokens, self.limits.tokens_per_minute or 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a demand was decided, and where its key stands now.

    `refused_by` is the limit that takes longest to allow it (`wait_s`; 0 for the
    month), None if it is admitted. `counted_in` names the count of the month that
    the tokens were added to, 0 for none. With `asks_for_month` nothing was decided.
    """

    refused_by: Limit | None = None
    wait_s: float = 0.0
    remaining_requests: int = 0
    reset_requests_s: float = 0.0
    remaining_tokens: int = 0
    reset_tokens_s: float = 0.0
    counted_in: int = 0
    asks_for_month: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """What of an admitted demand was not used."""

    requests: int
    tokens: int
    places: Sequence[str]


class LimitStore(Protocol):
    """The state of limits. Every method of a remote one raises `StoreError` and nothing else."""

    async def admit(self, demand: Demand, month_used: int | None = None) -> Verdict:
        """Take all that `demand` asks for, or nothing.

        `month_used` answers a verdict that `asks_for_month`: tokens used, or UNKNOWN.
        """
        ...

    async def settle(self, demand: Demand, reserved: int, counted_in: int, tokens: int) -> None:
        """End an admitted demand that really used `tokens`: its lease, and the difference to `reserved`.

        `reserved` and `counted_in` are 0 where this store did not admit it.
        """
        ...

    async def give_back(self, demand: Demand, counted_in: int, rest: Rest) -> None:
        """Return what of an admitted demand was not used; `rest.tokens` below zero is what it used beyond it."""
        ...

    async def renew(self, leases: Mapping[str, Sequence[str]]) -> None:
        """Keep places of leases, by key id, for another while; those that the store has lost are taken anew."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
