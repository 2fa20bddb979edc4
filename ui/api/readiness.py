"""Whether the service is up and the models are loaded: one poll per process, watched by every page."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.schema import Model, ModelState
from ui.state.watchers import Watchers

POLL_S = 1.0
POLL_READY_S = 10.0
POLL_ASLEEP_S = 2.0

Phase = Literal["starting", "asleep", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a model; `elapsed_s` counts from the start of the phase.

    `stand_in` is a model that answers in its place until it is ready. While it loads, `step` is what its replica
    does, `percent` of it are done, `expected_s` are the seconds that a start took before, and `remaining_s` about
    those that are left, as far as these are known. A model that is asleep is woken by the next message.
    """

    phase: Phase
    elapsed_s: float = 0.0
    message: str = ""
    step: str | None = None
    percent: int | None = None
    expected_s: float | None = None
    stand_in: str | None = None
    remaining_s: float | None = None

    @property
    def can_answer(self) -> bool:
        """Whether a message can be sent now: this model or its fallback answers, or the message wakes it."""
        return self.phase in ("ready", "asleep") or self.stand_in is not None


class Readiness:
    """The last response of `/ready`. Until the first one, the service counts as starting."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._states: list[ModelState] = []
        self._is_reachable = False
        self._phase_since = time.monotonic()
        self._watchers: Watchers[[]] = Watchers("readiness")
        self._wake = asyncio.Event()
        self._known: list[Model] = []
        self.models: list[str] = []
        """Chat models, the default one first."""

    @property
    def is_ready(self) -> bool:
        """Whether every model can generate, or is woken by a message."""
        return self._is_reachable and all(state.status in ("ready", "asleep") for state in self._states)

    def of(self, model: str | None) -> Status:
        """Return the state of `model`, or of the whole service if the model is unknown."""
        waited_s = time.monotonic() - self._phase_since
        if not self._is_reachable:
            return Status("starting", waited_s)
        state = next((state for state in self._states if state.id == model), None)
        if state is None:
            return Status("ready") if self.is_ready else Status("loading", waited_s)
        return Status(
            state.status,
            state.elapsed_s,
            state.message,
            state.phase,
            state.percent,
            state.expected_s,
            None if state.status == "ready" else self._stand_in(state.id),
            state.remaining_s,
        )

    def _stand_in(self, name: str) -> str | None:
        """Return the first model that can answer instead of `model`."""
        ready = {state.id for state in self._states if state.status == "ready"}
        model = self.model(name)
        return next((other for other in (model.fallback if model else ()) if other in ready), None)

    def phases(self) -> dict[str, Phase]:
        """Return the phase of each chat model."""
        return {model: self.of(model).phase for model in self.models}

    def default(self) -> str | None:
        """Return the first model that has not failed, or the first one if all have."""
        usable = [model for model, phase in self.phases().items() if phase != "failed"]
        return next(iter([*usable, *self.models]), None)

    def model(self, name: str | None) -> Model | None:
        """Return what is known of a model."""
        return next((model for model in self._known if model.id == name), None)

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` after every poll until all models are ready, then on changes; returns how to stop that."""
        return self._watchers.add(watcher)

    @property
    def watchers(self) -> int:
        """The number of watchers."""
        return len(self._watchers)

    def doubt(self) -> None:
        """Poll again soon: a request has just failed as if the service were not ready."""
        self._wake.set()

    async def poll_forever(self) -> None:
        """Poll until cancelled; a failed poll is a state of the service, not an error."""
        while True:
            before = self._summary()
            await self._poll()
            if not self.is_ready or before != self._summary():
                self._watchers.notify()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), self._poll_s)
            except TimeoutError:
                continue

    @property
    def _poll_s(self) -> float:
        if not self.is_ready or not self.models:
            return POLL_S
        return POLL_ASLEEP_S if any(state.status == "asleep" for state in self._states) else POLL_READY_S

    def _summary(self) -> object:
        return self._is_reachable, self.models, [(state.id, state.status) for state in self._states]

    async def _poll(self) -> None:
        was_reachable, known = self._is_reachable, [(state.id, state.status) for state in self._states]
        try:
            states, is_reachable = (await self._api.ready()).models, True
        except ApiError:
            states, is_reachable = self._states, False
        has_changed = not was_reachable or known != [(state.id, state.status) for state in states]
        if is_reachable and (not self.models or has_changed):
            await self._find_models(states)  # first: a page that is told to be ready needs a model to send to
        self._states, self._is_reachable = states, is_reachable
        if was_reachable != is_reachable:
            self._phase_since = time.monotonic()

    async def _find_models(self, states: list[ModelState]) -> None:
        try:
            self._known = await self._api.models()
            self.models = [model.id for model in self._known if model.chats]
        except ApiError:  # a rejected key shows when it is used; until then the models that /ready names suffice
            self.models = [state.id for state in states]
