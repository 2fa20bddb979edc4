"""Model replicas in this process, without Ray: the same interface as `ModelClient`."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from deployments.config import ModelPolicy, ProviderModel, ScriptedModel
from deployments.lora.types import Adapter
from deployments.metrics.queues import Queues
from deployments.models.availability import ModelState
from deployments.models.delivery.listener import Listener
from deployments.models.holding import Hold, HoldingRoom
from deployments.models.identity import adapter_identity, identities
from deployments.models.loading.estimate import Start
from deployments.models.loading.starts import StartStore
from deployments.models.names import ModelNames
from deployments.models.protocol import ModelRequest, Put, Traits
from deployments.models.provider.replica import ProviderReplica
from deployments.models.queues import UNBOUNDED, ModelQueues
from deployments.models.scaling.decisions import Decision
from deployments.models.scripted.replica import ScriptedReplica
from deployments.queueing.job import Job
from deployments.queueing.shares import CapacityStore


class InProcessModels:
    """Scripted and provider models, each one replica in the caller's event loop; the first is the default."""

    def __init__(self, *models: ScriptedModel | ProviderModel, names: ModelNames | None = None) -> None:
        self.names = self._configured_names = names or ModelNames([model.id for model in models], models[0].id)
        self.replicas: dict[str, ScriptedReplica | ProviderReplica] = {
            model.id: ProviderReplica(model) if isinstance(model, ProviderModel) else ScriptedReplica(model)
            for model in models
        }
        self.is_ready = True
        self.starts_in_s: float | None = None
        self.rooms = {model.id: HoldingRoom(model.id, self._has_replica, lambda: self.starts_in_s) for model in models}
        self.listener: Listener | None = None
        self._settings = {model.id: model for model in models}
        self._identities = identities(models)
        for adapter, parent in self.names.adapters.items():
            self.replicas[adapter], self._settings[adapter] = self.replicas[parent], self._settings[parent]
        self.model_queues = ModelQueues(lambda settings, _: settings.queued_above or UNBOUNDED)
        self._adapters: dict[str, Adapter] = {}
        self._since = time.monotonic()

    async def open(self) -> None:
        for replica in self.replicas.values():
            if isinstance(replica, ProviderReplica):
                await replica.start()

    async def aclose(self) -> None:
        await self.model_queues.aclose()

    def resolve(self, name: str | None) -> str:
        return self.names.resolve(name)

    def identity(self, model: str) -> str:
        adapter = self._adapters.get(model)
        return adapter_identity(self._identities[adapter.model], adapter) if adapter else self._identities[model]

    def adapter(self, model: str) -> Adapter | None:
        return self._adapters.get(model)

    def offer(self, adapters: Sequence[Adapter]) -> None:
        self._adapters = {adapter.id: adapter for adapter in adapters}
        parents = {adapter.id: adapter.model for adapter in adapters}
        self.names = replace(self._configured_names, adapters={**self._configured_names.adapters, **parents})
        for adapter, parent in parents.items():
            self.replicas[adapter], self._settings[adapter] = self.replicas[parent], self._settings[parent]

    def replicas_of(self, model: str) -> int:
        return int(self.is_ready)

    async def load_adapter(self, model: str, name: str, source: str) -> Adapter:
        replica = self.replicas[model]
        assert isinstance(replica, ScriptedReplica)
        return await replica.load_adapter(name, source)

    async def tell_adapters(self, model: str, adapters: Sequence[Adapter]) -> None: ...

    def policy(self, model: str) -> ModelPolicy:
        return self._settings[model]

    def routes_by_prompt(self, model: str) -> bool:
        """Return False: all requests go to the one model in this process."""
        return False

    def fallback(self, model: str) -> tuple[str, ...]:
        return self._settings[model].fallback

    def queues(self) -> Queues:
        return self.model_queues.waiting()

    async def decisions(self) -> Sequence[tuple[str, Decision]]:
        return []

    def starts(self) -> Sequence[tuple[str, Start]]:
        return []

    async def states(self) -> list[ModelState]:
        status, elapsed_s = "ready" if self.is_ready else "loading", time.monotonic() - self._since
        return [ModelState(name, status, elapsed_s, int(self.is_ready)) for name in self.names.ids]

    async def traits(self, model: str) -> Traits:
        return await self.replicas[model].traits()

    async def running(self, model: str) -> int:
        return await self.replicas[model].running()

    async def waiting(self, model: str) -> int:
        return await self.replicas[model].waiting()

    async def learn_starts(self, store: StartStore) -> None: ...

    async def share_capacity(self, store: CapacityStore) -> None:
        await self.model_queues.share(store)

    def _has_replica(self) -> bool:
        return self.is_ready

    async def hold(self, model: str, wait_s: float | None) -> Hold | None:
        settings = self._settings[model]
        if self.is_ready:
            return None
        return self.rooms[settings.id].enter(settings.max_held_requests, settings.hold_s, wait_s)

    async def generate(self, model: str, request: ModelRequest, put: Put, job: Job | None = None) -> None:
        while not self.is_ready:  # noqa: ASYNC110 - tests set it
            await asyncio.sleep(0.005)
        settings = self._settings[model]
        async with (
            self.model_queues.admitted(settings, ("", settings.id), request.endpoint, job),
            aclosing(self.replicas[model].generate(request)) as messages,
        ):
            async for message in messages:
                put(message)
