"""The ingress's side of the model deployments: the only place that holds their handles.

Translates Ray's errors, keeps the deadlines and knows which model can answer.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address

from deployments.config import ModelBase, ModelPolicy, ProviderModel, Timeouts
from deployments.errors import ModelFailed, ModelNotFound, Timeout
from deployments.infra.ray.handles import CALL_ERRORS
from deployments.lora.types import Adapter
from deployments.metrics.queues import Queues
from deployments.models.attempts import Attempts
from deployments.models.availability import Availability, ModelState
from deployments.models.backlog_reports import BacklogReports
from deployments.models.call_errors import RETRY_AFTER_S, translated
from deployments.models.delivery.listener import Listener
from deployments.models.failover import Failover, ReplicaLost
from deployments.models.holding import Hold
from deployments.models.identity import adapter_identity
from deployments.models.loading.deploying import Absence, AbsentDeployments
from deployments.models.loading.estimate import Start
from deployments.models.loading.starts import StartStore
from deployments.models.names import ModelNames
from deployments.models.presence import presence
from deployments.models.protocol import ModelRequest, Put, Traits
from deployments.models.queues import ModelQueues, capacity
from deployments.models.scaling.decisions import Decision, newest
from deployments.queueing.job import Job
from deployments.queueing.shares import CapacityStore

APPLICATION = "chatllm"
OTHERS = ("Ingress", "CacheLookup")
"""Deployments that scale by their load as well, if the file says so."""
RUNNING_TIMEOUT_S = 2.0
LOAD_TIMEOUT_S = 600.0
HANDED_OVER_PAUSE_S = 0.1
"""How long an answer that is handed over waits: while Serve's controller is away, routers still know the replica that
stops, which refuses at once, again and again, and that without an end counts as no loss."""
TEXT_ALONE = ("text",)
MAX_STARTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A configured model, its deployment, and what distinguishes its answers from any other's.

    An adapter is one with the settings and the deployment of its model.
    """

    settings: ModelBase
    identity: str
    handle: DeploymentHandle[Any] | None = None
    application: str = APPLICATION
    problem: str = ""
    """Why it cannot be served at all, for administrators; it then has neither an identity nor a handle."""

    @property
    def place(self) -> tuple[str, str]:
        """The names of its application and its deployment in Serve."""
        return self.application, self.settings.deployment


class ModelClient:
    """Generates on the replicas of the configured models."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        names: ModelNames,
        timeouts: Timeouts,
        is_encrypted: bool | None = None,
    ) -> None:
        """`is_encrypted`: whether replicas must encrypt what they send; None: if they are on other machines."""
        self._adapters: Mapping[str, Adapter] = {}
        self._deployments: dict[tuple[str, str], DeploymentHandle[Any]] = {}
        self._available = Availability(self._deployments.__getitem__, self._is_served, AbsentDeployments())
        self._listener = Listener()
        self._attempts = Attempts(self._listener)
        self._queues = ModelQueues(capacity, BacklogReports(self._deployments).tell)
        self._traits: dict[str, Traits] = {}
        self._configured: Mapping[str, ServedModel] = {}
        self._is_encrypted = is_encrypted
        self._models: Mapping[str, ServedModel] = {}
        self.configure(models, names, timeouts)

    def configure(self, models: Mapping[str, ServedModel], names: ModelNames, timeouts: Timeouts) -> None:
        """Serve these models from now on, with these names and time-outs; answers that are under way go on."""
        self._configured, self._configured_names, self._timeouts = models, names, timeouts
        for model in models.values():
            if model.handle is not None and model.place not in self._deployments:
                # Taking options starts the handle's router, so that replicas are known before the first request.
                self._deployments[model.place] = model.handle.options(stream=False)
                self._available.add(model.settings, model.place)
        self._queues.keep({model.place for model in models.values()})
        self.offer([adapter for adapter in self._adapters.values() if adapter.model in models])

    async def open(self) -> None:
        """Listen for the answers of the replicas."""
        await self._listener.open(get_node_ip_address(), self._is_encrypted)

    async def learn_starts(self, store: StartStore) -> None:
        """Estimate how long models take to start from `store`, and record starts there from now on."""
        await self._available.learn_starts(store, lambda: list(self._deployments))

    async def share_capacity(self, store: CapacityStore) -> None:
        """Fill only this process's share of the models' engines, as `store` has it for all ingress replicas."""
        await self._queues.share(store)

    async def aclose(self) -> None:
        """Close the connections of the replicas; answers that are under way fail."""
        await self._queues.aclose()
        await self._available.aclose()
        await self._listener.aclose()
        await self._attempts.aclose()

    @property
    def listener(self) -> Listener:
        """Where answers arrive, those of other ingress replicas too."""
        return self._listener

    def offer(self, adapters: Sequence[Adapter]) -> None:
        """Serve these adapters from now on, and no others except those of the configuration."""
        before = self._models
        self._adapters = {adapter.id: adapter for adapter in adapters if adapter.model in self._configured}
        parents = {adapter.id: adapter.model for adapter in self._adapters.values()}
        self.names = replace(self._configured_names, adapters={**self._configured_names.adapters, **parents})
        adapted = {adapter.id: self._adapted(adapter) for adapter in self._adapters.values()}
        self._models = {**self._configured, **adapted}
        changed = {name for name in before if name not in self._models or before[name] != self._models[name]}
        self._traits = {model: traits for model, traits in self._traits.items() if model not in changed}

    def adapter(self, model: str) -> Adapter | None:
        """Return the adapter that was loaded under this id while the service runs; None for all other models."""
        return self._adapters.get(model)

    def replicas_of(self, model: str) -> int:
        """Return how many replicas of a model run, as far as is known here."""
        return presence(*self._served(model).place).replicas or 0

    async def load_adapter(self, model: str, name: str, source: str) -> Adapter:
        """Let a replica find and load an adapter, and return it; raises a ChatLLMError that says what is wrong.

        While none runs, the model is woken and waited for.
        """
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                served = self._valid(model)
                await self._available.ready(served.settings, served.place)
                return await self._handle(model).load_adapter.remote(name, source)
        except TimeoutError:
            raise Timeout("The adapter was not loaded in time.", None, RETRY_AFTER_S) from None
        except CALL_ERRORS as error:
            raise translated(error) from None

    async def tell_adapters(self, model: str, adapters: Sequence[Adapter]) -> None:
        """Have every replica of a model load these adapters and drop others; an unreachable one is not an error."""
        with suppress(*CALL_ERRORS):
            await self._handle(model).broadcast("hold_adapters", adapters).results_async()

    def _is_served(self, place: tuple[str, str]) -> bool:
        return any(model.place == place for model in self._configured.values())

    def _adapted(self, adapter: Adapter) -> ServedModel:
        of = self._configured[adapter.model]
        return replace(of, identity=adapter_identity(of.identity, adapter))

    def _served(self, model: str) -> ServedModel:
        """Return a model by its id; raises ModelNotFound for one that has been removed during a request."""
        served = self._models.get(model)
        if served is None:
            raise ModelNotFound(f"The model {model!r} has been removed.", "model")
        return served

    def _valid(self, model: str) -> ServedModel:
        """Return a model by its id; raises ModelNotFound, and ModelFailed for one whose arguments are wrong."""
        served = self._served(model)
        if served.problem:
            raise ModelFailed
        return served

    def _handle(self, model: str) -> DeploymentHandle[Any]:
        return self._deployments[self._served(model).place]

    def resolve(self, name: str | None) -> str:
        """Return the id of the model that a request names, the default one for None; raises ModelNotFound."""
        return self.names.resolve(name)

    def identity(self, model: str) -> str:
        """Return what distinguishes this model's answers from any other's."""
        return self._served(model).identity

    def policy(self, model: str) -> ModelPolicy:
        """Return how requests to a model are handled; raises ModelNotFound for one that has been removed."""
        return self._served(model).settings

    def routes_by_prompt(self, model: str) -> bool:
        """Return whether it matters to which replica a prompt goes: not while there is one."""
        return self.replicas_of(model) != 1

    def fallback(self, model: str) -> tuple[str, ...]:
        """Return the models that answer where this one cannot, in their order."""
        return tuple(name for name in self._served(model).settings.fallback if name in self._models)

    async def states(self) -> list[ModelState]:
        """Return the state of every model, the default one first; an adapter's is that of its model."""
        ordered = sorted(self.names.ids, key=lambda name: name != self.names.default)
        return [await self._state(self._models[name]) for name in ordered]

    async def _state(self, model: ServedModel) -> ModelState:
        if model.problem:
            absence = Absence(has_failed=True, reason=model.problem)
            return ModelState(model.settings.id, "failed", 0.0, 0, absence)
        return await self._available.state(model.settings, model.place)

    async def hold(self, model: str, wait_s: float | None) -> Hold | None:
        """Return a request's place among those that wait for a replica; None while one runs.

        `wait_s` is how long it wants to wait at most, None for as long as it may. Raises ModelFailed, and
        ModelLoading where it is not to wait or no place is left; the model is woken all the same.
        """
        served = self._valid(model)
        return await self._available.hold(served.settings, served.place, wait_s)

    def queues(self) -> Queues:
        """Return what waits in this process's queues in front of the models' engines."""
        return self._queues.waiting()

    async def decisions(self) -> Sequence[tuple[str, Decision]]:
        """Return the last decisions of the autoscaler with the models that they are about, the newest first."""
        places = [(served.settings.id, served.place) for served in self._configured.values()]
        return await newest([*places, *((name, (APPLICATION, name)) for name in OTHERS)])

    def starts(self) -> Sequence[tuple[str, Start]]:
        """Return the last starts of the models with their ids, the newest first."""
        names = {served.settings.deployment: served.settings.id for served in self._configured.values()}
        known = sorted(self._available.past_starts(), key=lambda start: -start.began_at)
        return [(names[start.deployment], start) for start in known if start.deployment in names][:MAX_STARTS_SHOWN]

    async def traits(self, model: str) -> Traits:
        """Return the model's modalities: those that a replica reported, until then those of its settings."""
        if model not in self._traits and (await self._state(self._served(model))).status == "ready":
            with suppress(TimeoutError, *CALL_ERRORS):
                async with asyncio.timeout(RUNNING_TIMEOUT_S):
                    self._traits[model] = await self._handle(model).traits.remote()
        return self._traits.get(model) or Traits(TEXT_ALONE, self._served(model).settings.output_modalities, None)

    async def running(self, model: str) -> int:
        """Return how many requests the engines of all replicas hold, as they themselves count; asks every replica."""
        return await self._sum(model, "running")

    async def waiting(self, model: str) -> int:
        """Return how many of these have no token yet; asks every replica."""
        return await self._sum(model, "waiting")

    async def _sum(self, model: str, method: str) -> int:
        if (await self._state(self._served(model))).replicas == 0:
            return 0
        try:
            async with asyncio.timeout(RUNNING_TIMEOUT_S):
                return sum(await self._handle(model).broadcast(method).results_async())
        except TimeoutError:
            raise Timeout("The model's replicas did not answer in time.", None, 1.0) from None
        except Exception as error:  # noqa: BLE001 - error translation for Ray: a replica that stops fails in many ways
            raise translated(error) from None

    async def generate(self, model: str, request: ModelRequest, put: Put, job: Job | None = None) -> None:
        """Give the messages of a replica to `put`; return after the last of them, or once its call has failed.

        While no replica runs, one is demanded, and this waits; whoever asks bounds that (`hold`). While the engines are
        full it waits for the turn of `job`. Cancelling it withdraws the demand, or cancels the request at the replica,
        and so at the engine. When the replica is lost, another one goes on with the answer where that is possible.
        Raises ModelFailed, Overloaded and TooManyRequests as the queue does, Unavailable when the replica is lost for
        good. An answer that misses a deadline ends with a Timeout, and this is cancelled.
        """
        served = self._valid(model)
        await self._available.ready(served.settings, served.place)
        async with self._queues.admitted(served.settings, served.place, request.endpoint, job):
            answer = Failover(model, request, put, may_repeat=not isinstance(served.settings, ProviderModel))
            total_at = time.monotonic() + self._timeouts.total_s
            while True:
                try:
                    return await self._attempts.make(self._handle(model), answer, self._timeouts, total_at)
                except ReplicaLost as lost:
                    answer.resume(lost)
                    if lost.is_handed_over:
                        await asyncio.sleep(HANDED_OVER_PAUSE_S)
