"""Loaded adapters in memory, with the promises of store.py but for durability: for tests and trials."""

import time
from collections.abc import Sequence
from dataclasses import replace

from deployments.lora.store import no_adapter, too_many
from deployments.lora.types import Adapter


class MemoryAdapters:
    """The store as a dictionary."""

    def __init__(self) -> None:
        self._adapters: dict[tuple[str, str], Adapter] = {}

    async def list(self) -> Sequence[Adapter]:
        return [adapter for _, adapter in sorted(self._adapters.items())]

    async def put(self, adapter: Adapter, max_adapters: int) -> Adapter:
        others = [key for key in self._adapters if key[0] == adapter.model and key[1] != adapter.name]
        if len(others) >= max_adapters:
            raise too_many(adapter.model, max_adapters)
        kept = self._adapters[adapter.model, adapter.name] = replace(adapter, loaded_at=int(time.time()))
        return kept

    async def remove(self, model: str, name: str) -> None:
        if self._adapters.pop((model, name), None) is None:
            raise no_adapter(model, name)
