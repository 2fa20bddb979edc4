"""Limits in this process's memory: what a replica holds by itself while Redis is away."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deployments.limits.store import CONCURRENT_WAIT_S, RECOUNT_S, UNKNOWN, Demand, Limit, Rest, Verdict

MAX_KEYS = 10_000
# Sums of fractions are not exact; what is missing by this much is there.
SLACK = 1e-6


@dataclass(slots=True)
class _Bucket:
    """Holds up to a minute's worth, and fills continuously; empty ones may owe something."""

    held: float
    at: float

    def level(self, per_minute: int, now: float) -> float:
        return min(per_minute, self.held + (now - self.at) * per_minute / 60)

    def put(self, amount: float, per_minute: int, now: float) -> None:
        self.held, self.at = min(per_minute, self.level(per_minute, now) + amount), now


@dataclass(slots=True)
class _Month:
    name: str
    used: int
    counted_in: int
    counted_at: float


@dataclass(slots=True)
class _State:
    requests: _Bucket | None = None
    tokens: _Bucket | None = None
    leases: dict[str, float] = field(default_factory=dict[str, float])
    month: _Month | None = None


class MemoryLimits:
    """The limits' store of one process, for one event loop; keeps `MAX_KEYS`, the least recently used go first."""

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._counts = 0

    async def admit(self, demand: Demand, month_used: int | None = None) -> Verdict:
        now, state = self._clock(), self._state(demand.key_id)
        if demand.limits.tokens_per_month and not self._month_is_known(state, demand.month, month_used, now):
            return Verdict(asks_for_month=True)
        refused_by, wait_s = self._refusal(state, demand, now)
        if refused_by is None:
            self._take(state, demand, now)
        return self._verdict(state, demand, now, refused_by, wait_s)

    def note(self, demand: Demand) -> int:
        """Take what another store admitted, even if it is not there, and return `counted_in`."""
        now, state = self._clock(), self._state(demand.key_id)
        self._take(state, demand, now)
        return self._counted_in(state, demand)

    async def settle(self, demand: Demand, reserved: int, counted_in: int, tokens: int) -> None:
        self.end(demand, reserved, counted_in, tokens)

    def end(self, demand: Demand, reserved: int, counted_in: int, tokens: int) -> None:
        """Do what `settle` does, at once."""
        now, state = self._clock(), self._state(demand.key_id)
        for place in demand.places:
            state.leases.pop(place, None)
        per_minute = demand.limits.tokens_per_minute
        if per_minute:
            state.tokens = state.tokens or _Bucket(per_minute - reserved, now)
            state.tokens.put(reserved - tokens, per_minute, now)
        month = state.month
        if month is not None and month.name == demand.month:
            month.used += tokens - (demand.tokens if counted_in == month.counted_in else 0)

    async def give_back(self, demand: Demand, counted_in: int, rest: Rest) -> None:
        now, state, limits = self._clock(), self._state(demand.key_id), demand.limits
        for place in rest.places:
            state.leases.pop(place, None)
        if limits.requests_per_minute and state.requests is not None:
            state.requests.put(rest.requests, limits.requests_per_minute, now)
        if limits.tokens_per_minute and state.tokens is not None:
            state.tokens.put(rest.tokens, limits.tokens_per_minute, now)
        month = state.month
        if month is not None and month.name == demand.month and month.counted_in == counted_in:
            month.used -= rest.tokens

    async def renew(self, leases: Mapping[str, Sequence[str]]) -> None:
        until = self._clock() + self._lease_s
        for key_id, names in leases.items():
            self._state(key_id).leases.update(dict.fromkeys(names, until))

    async def aclose(self) -> None:
        self._states.clear()

    def _state(self, key_id: str) -> _State:
        state = self._states.get(key_id)
        if state is None:
            state = self._states[key_id] = _State()
            if len(self._states) > MAX_KEYS:
                self._states.popitem(last=False)
        else:
            self._states.move_to_end(key_id)
        return state

    def _month_is_known(self, state: _State, name: str, used: int | None, now: float) -> bool:
        """Whether the month can be decided on, with the count `used` if there is no fresh one."""
        month = state.month
        if month is not None and month.name == name and now - month.counted_at < RECOUNT_S:
            return True
        if used is None:
            return False
        if used != UNKNOWN:
            self._counts += 1
            state.month = _Month(name, used, self._counts, now)
        return True

    def _refusal(self, state: _State, demand: Demand, now: float) -> tuple[Limit | None, float]:
        limits, month = demand.limits, state.month
        knows_month = limits.tokens_per_month and month is not None and month.name == demand.month
        if knows_month and month and month.used + demand.tokens > (limits.tokens_per_month or 0):
            return "tokens_per_month", 0.0
        waits: list[tuple[float, Limit]] = [
            (_wait_s(state.requests, limits.requests_per_minute, demand.requests, now), "requests_per_minute"),
            (_wait_s(state.tokens, limits.tokens_per_minute, demand.reserved, now), "tokens_per_minute"),
        ]
        places = limits.concurrent_requests
        if places and demand.lease and self._running(state, now) + demand.sequences > places:
            waits.append((CONCURRENT_WAIT_S, "concurrent_requests"))
        wait_s, name = max(waits)
        return (name, wait_s) if wait_s > 0 else (None, 0.0)

    def _running(self, state: _State, now: float) -> int:
        """Return how many sequences run."""
        for lease in [lease for lease, until in state.leases.items() if until <= now]:
            del state.leases[lease]
        return len(state.leases)

    def _take(self, state: _State, demand: Demand, now: float) -> None:
        limits = demand.limits
        if limits.requests_per_minute:
            state.requests = state.requests or _Bucket(limits.requests_per_minute, now)
            state.requests.put(-demand.requests, limits.requests_per_minute, now)
        if limits.tokens_per_minute:
            state.tokens = state.tokens or _Bucket(limits.tokens_per_minute, now)
            state.tokens.put(-demand.reserved, limits.tokens_per_minute, now)
        if limits.concurrent_requests:
            state.leases.update(dict.fromkeys(demand.places, now + self._lease_s))
        if self._counted_in(state, demand) and state.month:
            state.month.used += demand.tokens

    def _counted_in(self, state: _State, demand: Demand) -> int:
        month = state.month
        is_counted = demand.limits.tokens_per_month and month is not None and month.name == demand.month
        return month.counted_in if is_counted and month else 0

    def _verdict(self, state: _State, demand: Demand, now: float, refused_by: Limit | None, wait_s: float) -> Verdict:
        requests, reset_requests_s = _standing(state.requests, demand.limits.requests_per_minute, now)
        tokens, reset_tokens_s = _standing(state.tokens, demand.limits.tokens_per_minute, now)
        counted_in = 0 if refused_by else self._counted_in(state, demand)
        return Verdict(refused_by, wait_s, requests, reset_requests_s, tokens, reset_tokens_s, counted_in)


def _wait_s(bucket: _Bucket | None, per_minute: int | None, amount: int, now: float) -> float:
    """Return the seconds until a bucket holds `amount`; 0 if it does, or if there is no limit."""
    if not per_minute or not amount or bucket is None:
        return 0.0
    missing = amount - bucket.level(per_minute, now)
    return missing * 60 / per_minute if missing > SLACK else 0.0


def _standing(bucket: _Bucket | None, per_minute: int | None, now: float) -> tuple[int, float]:
    """Return what a bucket holds, whole, and the seconds until it is full."""
    if not per_minute:
        return 0, 0.0
    level = bucket.level(per_minute, now) if bucket else float(per_minute)
    return max(0, int(level + SLACK)), (per_minute - level) * 60 / per_minute
