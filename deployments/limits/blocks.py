"""What a replica takes of a busy key's limits at once, so that most of its requests ask nobody.

    a key's 8th decision within a second ──▶ a block: half a second's worth of its limits, for one second
    requests ── from the block ──▶ what they did not use goes back into it
    a second later, or when it is used up ──▶ the rest goes back to Redis; a key that is still busy has the next block

The bounds:

- No limit is ever exceeded by this: a block is taken before it is used, by the same decision as a request.
- A replica keeps at most 1/60 of a limit per minute and 1/8 of the answers at once from the others, for a second (half
  of it as the block, half as what ended requests put back into it), and only while more than half of the limit per
  minute is left. So nothing is kept back near a limit per minute.
- A limit of which a block would hold less than two has none: up to 239 requests per minute, or 31 answers at once,
  every request is decided on by itself.
- What requests use beyond their estimate reaches the other replicas up to a second later.
- The block of a replica that dies is lost: the limits per minute refill within half a second, its places lapse with
  their lease, and the month is counted anew within the hour.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployments.keys.types import KeyLimits
from deployments.limits.store import Demand, Rest, Verdict

BLOCK_S = 1.0
"""How long a block is held."""
PER_MINUTE_SHARE = 120
PER_MONTH_SHARE = 100_000
PLACES_SHARE = 16
MIN_BLOCK = 2
BUSY = 8
"""Decisions within a second after which a key counts as busy."""


def block_demand(demand: Demand, lease: str) -> Demand | None:
    """Return the block that requests like `demand` can be served from; None where the limits are too small for one."""
    limits = demand.limits
    requests = (limits.requests_per_minute or 0) // PER_MINUTE_SHARE
    shares = [(limits.tokens_per_minute, PER_MINUTE_SHARE), (limits.tokens_per_month, PER_MONTH_SHARE)]
    tokens = min((limit // share for limit, share in shares if limit), default=0)
    places = (limits.concurrent_requests or 0) // PLACES_SHARE
    if limits.requests_per_minute and requests < MIN_BLOCK:
        return None
    if limits.counts_tokens and tokens < MIN_BLOCK * max(1, demand.tokens):
        return None
    if limits.concurrent_requests and places < MIN_BLOCK:
        return None
    return replace(demand, requests=requests, tokens=tokens, lease=lease if places else "", sequences=places)


def is_plentiful(limits: KeyLimits, verdict: Verdict) -> bool:
    """Whether more than half of the limits per minute is left."""
    requests, tokens = limits.requests_per_minute or 0, limits.tokens_per_minute or 0
    return verdict.remaining_requests >= requests / 2 and verdict.remaining_tokens >= tokens / 2


@dataclass(eq=False, slots=True)
class Block:
    """What is left of an admitted block; `counted_in` and `verdict` are those of its admission."""

    demand: Demand
    counted_in: int
    verdict: Verdict
    hold_s: float = BLOCK_S
    taken_at: float = field(default_factory=time.monotonic)
    is_open: bool = True
    served: int = 0
    requests: int = field(init=False)
    tokens: int = field(init=False)
    places: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.requests, self.tokens, self.places = self.demand.requests, self.demand.tokens, self.demand.places

    @property
    def has_expired(self) -> bool:
        return time.monotonic() - self.taken_at > self.hold_s

    @property
    def is_used_up(self) -> bool:
        """Whether three quarters of a limit per minute, or of the block's time, are used."""
        demand = self.demand
        is_low = self.requests * 4 < demand.requests or self.tokens * 4 < demand.tokens
        return is_low or time.monotonic() - self.taken_at > self.hold_s * 3 / 4

    def take(self, demand: Demand) -> Demand | None:
        """Return `demand` as it is served from here, with the place that it holds; None if it cannot be."""
        limits = self.demand.limits
        if not self.is_open or self.has_expired or demand.limits != limits or demand.month != self.demand.month:
            return None
        if limits.requests_per_minute and demand.requests > self.requests:
            return None
        if limits.counts_tokens and demand.tokens > self.tokens:
            return None
        if demand.lease and (demand.sequences != 1 or not self.places):
            return None
        self.served += 1
        self.requests -= demand.requests
        self.tokens -= demand.tokens
        return replace(demand, lease=self.places.pop()) if demand.lease else demand

    def put_back(self, demand: Demand, counted_in: int, tokens: int) -> bool:
        """Take back an ended demand's places, and what it did not use of its tokens; False where that does not fit.

        It may have been admitted by itself, or by the block before.
        """
        mine, unused = self.demand, demand.tokens - tokens
        if not self.is_open or demand.limits != mine.limits or demand.month != mine.month:
            return False
        if len(self.places) + len(demand.places) > 2 * mine.sequences:
            return False
        if mine.limits.counts_tokens:
            is_alike = counted_in == self.counted_in and demand.reserved in (0, demand.tokens)
            if not is_alike or self.tokens + unused > 2 * mine.tokens:
                return False
            self.tokens += unused
        self.places.extend(demand.places)
        return True

    def standing(self) -> Verdict:
        """Return where the key stands, as far as this replica knows."""
        limits, taken, elapsed_s = self.demand.limits, self.verdict, time.monotonic() - self.taken_at
        requests = _remaining(limits.requests_per_minute, taken.remaining_requests + self.requests, elapsed_s)
        tokens = _remaining(limits.tokens_per_minute, taken.remaining_tokens + max(0, self.tokens), elapsed_s)
        return Verdict(
            remaining_requests=requests,
            reset_requests_s=_reset_s(limits.requests_per_minute, requests),
            remaining_tokens=tokens,
            reset_tokens_s=_reset_s(limits.tokens_per_minute, tokens),
            counted_in=self.counted_in,
        )

    def close(self) -> Rest:
        """Serve no more, and return what was not used; what is served still keeps its part, and settles itself."""
        self.is_open = False
        return Rest(self.requests, self.tokens, self.places)


class Blocks:
    """The blocks of one replica, by key. `take` starts to take one, and `give_back` to return what is left of it."""

    def __init__(
        self,
        new_lease: Callable[[], str],
        take: Callable[[Demand], None],
        give_back: Callable[[Block], None],
        hold_s: float = BLOCK_S,
    ) -> None:
        self._new_lease = new_lease
        self._take = take
        self._give_back = give_back
        self._hold_s = hold_s
        self._blocks: dict[str, Block] = {}
        self._awaited: set[str] = set()
        self._decisions: Counter[str] = Counter()
        self._counted_since = 0.0

    def put_back(self, demand: Demand, counted_in: int | None, tokens: int) -> bool:
        """Settle a demand that has ended with its key's block, if that can be; one that is overdrawn by it ends."""
        block = self._blocks.get(demand.key_id)
        if block is None or counted_in is None or not block.put_back(demand, counted_in, tokens):
            return False
        if block.tokens < 0:
            self.end(block)
        return True

    def serve(self, demand: Demand) -> tuple[Block, Demand] | None:
        """Serve a demand from its key's block: return the block, and the demand as it is served; None if it cannot."""
        block = self._blocks.get(demand.key_id)
        if block is None:
            return None
        served = block.take(demand)
        if served is None:
            if block.has_expired or demand.limits != block.demand.limits:
                self.end(block)
            return None
        if block.is_used_up and block.served >= BUSY:
            self._begin(demand)
        return block, served

    def note(self, demand: Demand, verdict: Verdict) -> None:
        """Note a decision that asked Redis; a busy key with plenty left gets a block."""
        if not demand.requests:
            return
        now = time.monotonic()
        if now - self._counted_since > BLOCK_S:
            self._decisions.clear()
            self._counted_since = now
        self._decisions[demand.key_id] += 1
        is_busy = self._decisions[demand.key_id] >= BUSY
        if is_busy and verdict.refused_by is None and is_plentiful(demand.limits, verdict):
            self._begin(demand)

    def taken(self, demand: Demand, verdict: Verdict | None) -> None:
        """Take in what became of a block that was begun: None where Redis did not answer."""
        self._awaited.discard(demand.key_id)
        if verdict is None or verdict.refused_by is not None:
            return
        block = Block(demand, verdict.counted_in, verdict, self._hold_s)
        if not is_plentiful(demand.limits, verdict):
            self._give_back(block)
            return
        before = self._blocks.get(demand.key_id)
        if before is not None:
            self.end(before)
        self._blocks[demand.key_id] = block

    def end(self, block: Block) -> None:
        """Return what is left of a block."""
        if self._blocks.get(block.demand.key_id) is block:
            del self._blocks[block.demand.key_id]
        if block.is_open:
            self._give_back(block)

    def end_expired(self) -> None:
        """Return what is left of the blocks that have expired."""
        for block in [block for block in self._blocks.values() if block.has_expired]:
            self.end(block)

    def end_all(self) -> None:
        """Return what is left of all blocks."""
        for block in list(self._blocks.values()):
            self.end(block)

    def _begin(self, demand: Demand) -> None:
        block = None if demand.key_id in self._awaited else block_demand(demand, self._new_lease())
        if block is not None:
            self._awaited.add(demand.key_id)
            self._take(block)


def _remaining(per_minute: int | None, held: int, elapsed_s: float) -> int:
    return min(per_minute, int(held + elapsed_s * per_minute / 60)) if per_minute else 0


def _reset_s(per_minute: int | None, remaining: int) -> float:
    return (per_minute - remaining) * 60 / per_minute if per_minute else 0.0
