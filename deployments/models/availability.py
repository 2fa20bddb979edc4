"""Whether models can answer, how long until they can, and the waiting for it.

Per deployment: who waits (holding.py), the demand that wakes it (waking.py), what Serve says of its absence and what
its replicas report (loading/deploying.py), and how long starts take (loading/starts.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.config import ModelBase
from deployments.errors import ModelFailed, ModelLoading
from deployments.metrics.held import tell_held
from deployments.models.holding import Hold, HoldingRoom
from deployments.models.loading.deploying import STARTING, Absence, AbsentDeployments
from deployments.models.loading.estimate import Start, remaining_s
from deployments.models.loading.progress import published
from deployments.models.loading.starts import MemoryStarts, StartStore, StartTimes
from deployments.models.presence import presence
from deployments.models.waking import REMOVED, Demand, WakingCall

Place = tuple[str, str]
"""The names of a model's application and its deployment in Serve."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether a model can answer: `status` is "ready", "asleep", "loading" or "failed", for `elapsed_s` seconds.

    One that is asleep has no replica because nobody asks for it; a request wakes it. `starts_in_s` is about how long
    it takes until a replica runs (one that is asleep: once it is asked), None if unknown.
    """

    id: str
    status: str
    elapsed_s: float
    replicas: int
    absence: Absence = STARTING
    """Why it is not ready; says nothing of one that is."""
    typical_s: float | None = None
    """What starts took lately, from the first demand to a replica that answers."""
    starts_in_s: float | None = None

    @property
    def is_available(self) -> bool:
        """Whether nothing is wrong: it answers, or will once it is asked."""
        return self.status in ("ready", "asleep")

    @property
    def phase(self) -> str | None:
        """What its replica does while it loads; None once that has ended."""
        if self.status != "loading":
            return None
        phase = self.absence.loading.phase if self.absence.loading else "starting"
        return "starting" if phase in ("ready", "failed") else phase

    @property
    def percent(self) -> int | None:
        """How much of the phase is done, where that is known."""
        return self.absence.loading.percent if self.phase and self.absence.loading else None

    @property
    def expected_s(self) -> float | None:
        """How many seconds a start took before, as far as that is known."""
        if self.status not in ("loading", "asleep"):
            return None
        return self.absence.expected_s if self.typical_s is None else round(self.typical_s, 1)

    @property
    def remaining_s(self) -> float | None:
        """About how many seconds it takes until a replica runs, to the tenth."""
        return None if self.starts_in_s is None else round(self.starts_in_s, 1)


class Availability:
    """What one ingress replica knows of the models' replicas, and its requests that wait for them."""

    def __init__(
        self,
        handle: Callable[[Place], DeploymentHandle[Any]],
        is_served: Callable[[Place], bool],
        absent: AbsentDeployments,
    ) -> None:
        """`handle` returns the handle of a deployment; `is_served` returns whether it still belongs to a model."""
        self._handle = handle
        self._is_served = is_served
        self._absent = absent
        self._demands: dict[Place, Demand] = {}
        self._rooms: dict[Place, HoldingRoom] = {}
        self._starts = self._start_times(MemoryStarts())

    async def learn_starts(self, store: StartStore, places: Callable[[], Sequence[Place]]) -> None:
        """Judge how long starts take by those in `store`, and keep there what is seen of these deployments."""
        await self._starts.aclose()
        self._starts = self._start_times(store)
        await self._starts.open(places)

    def past_starts(self) -> Sequence[Start]:
        """Return the newest starts that are known, of all deployments."""
        return self._starts.known

    async def aclose(self) -> None:
        """Stop watching and withdraw all demands."""
        await self._starts.aclose()
        for demand in self._demands.values():
            await demand.aclose()

    def add(self, model: ModelBase, place: Place) -> None:
        """Expect requests for a model: its metric of held ones is there from now on."""
        self._room(model, place)

    def replicas(self, place: Place) -> int:
        """Return how many replicas run, as far as Serve has informed this process."""
        replicas = presence(*place).replicas
        return int(self._handle(place).running_replicas_populated()) if replicas is None else replicas

    async def state(self, model: ModelBase, place: Place) -> ModelState:
        """Return the state of a model; asks Serve's controller, 2 s at most, where it has no replica."""
        seen, replicas = presence(*place), self.replicas(place)
        elapsed_s = time.monotonic() - seen.since
        if replicas:
            return ModelState(model.id, "ready", elapsed_s, replicas)
        absence, demanded_at = await self._absent.of(*place), self._demanded_at(place)
        if absence.has_failed:
            return ModelState(model.id, "failed", elapsed_s, 0, absence)
        if demanded_at is not None:
            elapsed_s = min(elapsed_s, max(0.0, time.time() - demanded_at))
        status = "asleep" if absence.is_asleep and demanded_at is None else "loading"
        typical_s = sum(self._starts.phases(place[1]).values()) or None
        return ModelState(model.id, status, elapsed_s, 0, absence, typical_s, self._starts_in_s(place))

    async def ready(self, model: ModelBase, place: Place) -> None:
        """Return once a replica runs, demanding one meanwhile; the caller bounds the wait.

        Raises ModelFailed, and ModelNotFound once the model is served no longer.
        """
        if not self.replicas(place):
            await self._demand(model, place).ready()

    async def hold(self, model: ModelBase, place: Place, wait_s: float | None) -> Hold | None:
        """Return a request's place among those that wait for a replica; None while one runs.

        `wait_s` is how long it wants to wait at most, None for as long as it may. Raises ModelFailed, and
        ModelLoading where it is not to wait or no place is left; the model is woken all the same.
        """
        if self.replicas(place):
            return None
        if (await self.state(model, place)).status == "failed":
            raise ModelFailed
        try:
            return self._room(model, place).enter(model.max_held_requests, model.hold_s, wait_s)
        except ModelLoading:
            self._demand(model, place).nudge()
            raise

    def held(self, model: ModelBase, place: Place) -> int:
        """Return how many requests are held."""
        return self._room(model, place).held

    def _demand(self, model: ModelBase, place: Place) -> Demand:
        async def status() -> str:
            return (await self.state(model, place)).status if self._is_served(place) else REMOVED

        def call() -> WakingCall:
            return self._handle(place).running.remote()

        if place not in self._demands:
            self._demands[place] = Demand(call, status)
        return self._demands[place]

    def _room(self, model: ModelBase, place: Place) -> HoldingRoom:
        if place not in self._rooms:
            self._rooms[place] = HoldingRoom(
                model.id,
                lambda: self.replicas(place) > 0,
                lambda: self._starts_in_s(place),
                tell=partial(tell_held, model.id),
            )
        return self._rooms[place]

    def _starts_in_s(self, place: Place) -> float | None:
        """Return about how long it takes until a replica runs, by what earlier starts took."""
        phases, now, absence = self._starts.phases(place[1]), time.time(), self._absent.known(*place)
        loading, demanded_at = absence.loading, self._demanded_at(place)
        is_loading = loading is not None and loading.phase not in ("ready", "failed") and not absence.is_asleep
        if is_loading and loading is not None and (demanded_at is None or loading.since >= demanded_at):
            return remaining_s(phases, loading.phase, max(0.0, now - loading.phase_since), loading.percent)
        return remaining_s(phases, "scheduling", 0.0 if demanded_at is None else max(0.0, now - demanded_at))

    def _demanded_at(self, place: Place) -> float | None:
        demand = self._demands.get(place)
        return demand.since if demand else None

    def _start_times(self, store: StartStore) -> StartTimes:
        return StartTimes(store, self.replicas, published, self._demanded_at)
