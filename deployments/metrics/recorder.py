"""What one ingress replica has seen in the last hour, in memory of a fixed size."""

import functools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping

from deployments.chat.summary import Summary
from deployments.metrics.buckets import BUCKET_S, BUCKETS, Bucket, Counts, pack
from deployments.metrics.faults import Fault, Faults
from deployments.metrics.queues import Queues

CLIENT_GONE_STATUS = 499

# Runs on while the machine sleeps, and nobody sets it.
boot_time_s = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class Recorder:
    """Counts requests, for one event loop. What has ended before is packed, about 200 bytes a bucket and model."""

    def __init__(self, clock: Callable[[], float] = boot_time_s) -> None:
        self.id = secrets.token_hex(8)
        self.began_at = clock()
        self.running = 0
        self.queues: Queues = {}
        """What waited when it was last noted."""
        self._clock = clock
        self._faults = Faults()
        self._packed: list[bytes] = [b""] * BUCKETS
        self._unpublished: set[int] = set()
        self._has_new_faults = False
        self._now = Bucket(int(self.began_at / BUCKET_S), models={}, replicas={}, waiting={})

    @property
    def clock(self) -> float:
        """What this replica's clock shows (seconds)."""
        return self._clock()

    def began(self) -> None:
        """Count a request that has begun."""
        self.running += 1
        bucket = self._bucket()
        bucket.peak = max(bucket.peak, self.running)

    def ended(self, request_id: str, key_id: str, summary: Summary, status: int, took_s: float) -> None:
        """Count a request out."""
        bucket = self._bucket()
        self.running -= 1
        counts = bucket.models.get(summary.model)
        if counts is None:
            counts = bucket.models[summary.model] = Counts()
        counts.count(status, summary.cache, took_s, summary.first_token_s)
        counts.prompt_tokens += summary.prompt_tokens
        if summary.is_reused:
            counts.reused_tokens += summary.completion_tokens
        else:
            counts.output_tokens += summary.completion_tokens
        if status >= 400 and status != CLIENT_GONE_STATUS:
            code = summary.failure.code if summary.failure else ""
            self._faults.note(Fault(self._clock(), status, code, summary.model, request_id, key_id))
            self._has_new_faults = True

    def note_replicas(self, replicas: Mapping[str, int]) -> None:
        """Note how many replicas each model has now; of what a bucket's time saw, the most is kept."""
        seen = self._bucket().replicas
        for model, count in replicas.items():
            seen[model] = max(count, seen.get(model, 0))

    def note_queues(self, queues: Queues) -> None:
        """Note what waits now; of what a bucket's time saw, the most is kept."""
        self.queues, seen = queues, self._bucket().waiting
        for model, by_priority in queues.items():
            if count := sum(waiting.requests for waiting in by_priority.values()):
                seen[model] = max(count, seen.get(model, 0))

    def buckets(self) -> list[bytes]:
        """Return all that is kept, packed; the present bucket as far as it is."""
        self._bucket()
        return [*filter(None, self._packed), pack(self._now)]

    def faults(self) -> bytes:
        """Return the last errors, packed."""
        return self._faults.packed()

    def unpublished(self) -> Mapping[str, bytes]:
        """Return what has changed since `published`, by the names of its places."""
        now = self._bucket()
        changed = {str(slot): self._packed[slot] for slot in self._unpublished}
        changed[str(now.number % BUCKETS)] = pack(now)
        if self._has_new_faults:
            changed["faults"] = self._faults.packed()
        return changed

    def published(self, names: Mapping[str, bytes]) -> None:
        """Take note that these are where others find them, unless they have changed meanwhile."""
        self._unpublished -= {int(name) for name, packed in names.items() if self._is_slot_of(name, packed)}
        if "faults" in names:
            self._has_new_faults = names["faults"] != self._faults.packed()

    def publish_all(self) -> None:
        """Take note that nothing of this replica is where others look for it."""
        self._unpublished = {slot for slot, packed in enumerate(self._packed) if packed}
        self._has_new_faults = True

    def _is_slot_of(self, name: str, packed: bytes) -> bool:
        return name.isdigit() and self._packed[int(name)] == packed

    def _bucket(self) -> Bucket:
        """Return the bucket of this moment."""
        number = int(self._clock() / BUCKET_S)
        if number > self._now.number:
            for bucket in self._over(number):
                slot = bucket.number % BUCKETS
                self._packed[slot] = pack(bucket)
                self._unpublished.add(slot)
            self._now = Bucket(number, self.running, {}, {}, {})
        return self._now

    def _over(self, number: int) -> Iterator[Bucket]:
        """Yield the present bucket, and those that went by since while requests ran but none began or ended."""
        yield self._now
        if self.running:
            for passed in range(max(self._now.number + 1, number - BUCKETS), number):
                yield Bucket(passed, self.running)
