"""Publishes what this replica has seen, and adds up what all have."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from deployments.infra.redis.errors import StoreError
from deployments.metrics.recorder import Recorder
from deployments.metrics.report import Report, added_up
from deployments.metrics.store import FigureStore, Readings, ReplicaFigures, State

log = logging.getLogger(__name__)

PUBLISH_S = 2.0
MAX_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Reported:
    """The figures of all replicas, or of this one alone; `failure` says in a word why others are missing."""

    report: Report
    now: float
    replicas_seen: int
    failure: str = ""


class Metrics:
    """The figures of all replicas as one of them tells them, for one event loop."""

    def __init__(self, recorder: Recorder, store: FigureStore) -> None:
        self.recorder = recorder
        self._store = store
        self._is_first = True
        self._is_alone = False
        # Until the store has told its time, this machine's will do.
        self._offset_s = time.time() - recorder.clock
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to publish, in the running event loop; whether the store is there does not matter."""
        self._task = asyncio.create_task(self._publish_for_ever(), name="metrics-publisher")

    async def aclose(self) -> None:
        """Publish what is left, within a second, and close the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        with suppress(StoreError):
            await self.publish()
        with suppress(StoreError):
            await self._store.aclose()

    @property
    def is_alone(self) -> bool:
        """Whether the store did not answer when it was last asked, within the last 10 s or so."""
        return self._is_alone

    async def publish(self) -> None:
        """Leave what is new for the other replicas; raises StoreError, and then it is tried again with the next."""
        places = self.recorder.unpublished()
        receipt = await self._store.publish(self.recorder.id, self._state(), places, is_first=self._is_first)
        self._offset_s = receipt.at - self.recorder.clock
        self.recorder.published(places)
        if not receipt.was_known and not self._is_first:  # the store has lost them
            self.recorder.publish_all()
        self._is_first = False

    async def report(self, window_s: int, step_s: int) -> Reported:
        """Add up the figures of the last `window_s` seconds; where the store fails, this replica's own."""
        since, failure = self.recorder.clock + self._offset_s - window_s - step_s, ""
        try:
            readings = await self._store.read(since)
        except StoreError as error:
            failure = f"redis_{error.kind}"
            readings = Readings(self.recorder.clock + self._offset_s, [])
        own = ReplicaFigures(
            self.recorder.id, readings.now, self._state(), self.recorder.buckets(), self.recorder.faults()
        )
        others = [replica for replica in readings.replicas if replica.id != own.id]
        # In a thread: an hour of many replicas takes longer than a stream may wait for its next event.
        report = await asyncio.to_thread(added_up, [own, *others], readings.now, window_s, step_s)
        if not failure and not (readings.is_whole and report.is_whole):
            failure = "unreadable"
        return Reported(report, readings.now, sum(replica.is_there for replica in report.replicas), failure)

    def _state(self) -> State:
        recorder = self.recorder
        queues = {model: dict(by_priority) for model, by_priority in recorder.queues.items()}
        return State(recorder.clock, recorder.began_at, recorder.running, queues)

    async def _publish_for_ever(self) -> None:
        pause_s = PUBLISH_S
        while True:
            try:
                await self.publish()
                pause_s = PUBLISH_S
                self._note_that(is_alone=False)
            except StoreError as error:
                pause_s = min(MAX_PAUSE_S, pause_s * 2)
                self._note_that(is_alone=True, kind=error.kind)
            await asyncio.sleep(pause_s)

    def _note_that(self, *, is_alone: bool, kind: str = "") -> None:
        if is_alone != self._is_alone:
            self._is_alone = is_alone
            if is_alone:
                log.warning("metrics cover this replica only", extra={"kind": kind})
            else:
                log.info("metrics cover all replicas again")
