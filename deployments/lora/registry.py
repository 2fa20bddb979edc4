"""Which adapters are loaded now, as an ingress replica knows it: read from the store every second."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from deployments.config import ModelBase, ModelCacheSettings
from deployments.errors import ChatLLMError, LastingConflict
from deployments.infra.detached import detached
from deployments.lora.files import allowed
from deployments.lora.store import AdapterStore
from deployments.lora.types import Adapter

logger = logging.getLogger(__name__)

POLL_S = 1.0
SPREAD_S = 0.5
"""What reading the store may take another replica, above POLL_S: after both, each knows what was loaded."""
OPEN_TIMEOUT_S = 5.0
TELL_TIMEOUT_S = 30.0


class AdaptedModels(Protocol):
    """The models, as far as adapters are loaded into them."""

    def offer(self, adapters: Sequence[Adapter]) -> None:
        """Serve these adapters from now on, and no others except those of the configuration."""
        ...

    def identity(self, model: str) -> str:
        """Return what tells the answers of a model or an adapter from any other's."""
        ...

    async def load_adapter(self, model: str, name: str, source: str) -> Adapter:
        """Let a replica find and load an adapter, and return it; raises a ChatLLMError that says what is wrong."""
        ...

    async def tell_adapters(self, model: str, adapters: Sequence[Adapter]) -> None:
        """Have every replica of a model load these adapters and drop others; an unreachable one is not an error."""
        ...

    def replicas_of(self, model: str) -> int:
        """Return how many replicas of a model run, as far as is known here."""
        ...


class KeepingAnswers(Protocol):
    """The cache, as far as it has settings for each model."""

    def keep(self, models: Mapping[str, ModelCacheSettings]) -> None:
        """Keep the answers of these identities by these settings too."""
        ...


class AdapterRegistry:
    """Keeps the models and their replicas to what the store says."""

    def __init__(
        self, store: AdapterStore, models: AdaptedModels, cache: KeepingAnswers, configured: Sequence[ModelBase]
    ) -> None:
        self._store = store
        self._cache = cache
        self._models = models
        self._known: Sequence[Adapter] = []
        self._announced: dict[str, tuple[Sequence[Adapter], int]] = {}
        self._poll: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self.configure(configured)

    def configure(self, models: Sequence[ModelBase]) -> None:
        """Go by these models from now on; their adapters are offered anew within a second."""
        self._adaptable = {model.id: model for model in models if getattr(model, "adapter_loading", None)}
        self._static = {name for model in models for name in model.adapter_ids}
        self._is_offered = False

    @property
    def adapters(self) -> Sequence[Adapter]:
        """The loaded adapters, in the order of their names."""
        return self._known

    async def open(self) -> None:
        """Read the store and follow it, while there is a model for which adapters may be loaded.

        A new replica knows every adapter before its first request, unless the store is away.
        """
        with suppress(ChatLLMError, TimeoutError):
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self.refresh()
        self._poll = asyncio.create_task(self._follow(), name="adapters")

    async def aclose(self) -> None:
        """Stop following it."""
        for task in (self._poll, *self._telling):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def load(self, model: str, name: str, source: str) -> Adapter:
        """Load an adapter, in place of another one of its name, and return when all replicas know it.

        Other ingress replicas read it from the store within POLL_S, which this waits for.
        Raises Forbidden where the configuration does not allow it, BadRequest or NotFound for what cannot be
        loaded, Conflict for one too many or a name of the configuration, and what a model's replica raises.
        """
        settings = allowed(self._adaptable.get(model))
        if f"{model}:{name}" in self._static:
            raise _is_static(model, name)
        found = await self._models.load_adapter(model, name, source)
        try:
            kept = await self._store.put(found, settings.max_adapters)
        except ChatLLMError:
            await self._tell(model)  # so that the replica that has loaded it drops it again
            raise
        await self.refresh()
        await asyncio.gather(self._tell(model), asyncio.sleep(POLL_S + SPREAD_S))
        return kept

    async def unload(self, model: str, name: str) -> None:
        """Unload an adapter: requests that run end, new ones find no such model; NotFound if it is not loaded."""
        if f"{model}:{name}" in self._static:
            raise _is_static(model, name)
        await self._store.remove(model, name)
        await self.refresh()

    async def refresh(self) -> None:
        """Read the store, and offer what it holds; replicas that do not know it yet are told without waiting."""
        if not self._adaptable and not self._known:
            return
        found = [one for one in await self._store.list() if one.model in self._adaptable and one.id not in self._static]
        if found != self._known or (found and not self._is_offered):
            self._is_offered = True
            self._models.offer(found)
            self._cache.keep({self._models.identity(one.id): self._adaptable[one.model].cache for one in found})
            self._known = found
        for model in self._adaptable:
            adapters, replicas = self._of(model), self._models.replicas_of(model)
            if self._announced.get(model, ([], replicas)) != (adapters, replicas) and replicas:
                task = detached(self._tell(model), "adapters")
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    def _of(self, model: str) -> Sequence[Adapter]:
        return [adapter for adapter in self._known if adapter.model == model]

    async def _tell(self, model: str) -> None:
        adapters = self._of(model)
        self._announced[model] = (adapters, self._models.replicas_of(model))
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_TIMEOUT_S):
                await self._models.tell_adapters(model, adapters)

    async def _follow(self) -> None:
        while True:
            try:
                await self.refresh()
            except ChatLLMError as error:
                logger.info("the loaded adapters cannot be read: %s", error.code)
            await asyncio.sleep(POLL_S)


def _is_static(model: str, name: str) -> LastingConflict:
    return LastingConflict(f"The adapter '{model}:{name}' stands in the service file: change it there.", "name")
