"""Who may start now, by what is free of the engines' places."""

from collections import Counter

from deployments.queueing.job import Job

SPARE = 32
"""One place of so many is for keys that have nothing running: they wait for nobody's answer to end."""
BATCH_SPARE = 8
"""One place of so many is never taken by a batch job, so that none has to end for an interactive one."""


class Slots:
    """The places of one model's engines that this process may fill, and what is in them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running = 0
        self._by_key: Counter[str] = Counter()

    def take(self, job: Job) -> None:
        """Fill the job's places. The widest job of all may reach beyond the capacity, so that none waits for ever."""
        self.running += job.sequences
        self._by_key[job.key_id] += job.sequences

    def release(self, job: Job) -> None:
        """Empty them."""
        self.running -= job.sequences
        self._by_key[job.key_id] -= job.sequences
        if self._by_key[job.key_id] <= 0:
            del self._by_key[job.key_id]

    def of(self, key_id: str) -> int:
        """Return how many places a key has."""
        return self._by_key.get(key_id, 0)

    @property
    def has_room(self) -> bool:
        """Whether an interactive job of any key may start."""
        return self.running < self.capacity - self.capacity // SPARE

    @property
    def has_spare(self) -> bool:
        """Whether one of a key may start that has nothing running."""
        return self.running < self.capacity

    def has_batch_room(self, job: Job) -> bool:
        """Whether a batch job may start: all of it leaves the others' places free, or it is alone."""
        room = self.capacity - max(1, self.capacity // BATCH_SPARE)
        return self.running == 0 or self.running + job.sequences <= room
