"""The adapters that a vLLM engine has been given while it runs. Imports vllm.

vLLM compares adapters, and the blocks of its prefix cache, by their names. So it knows each of ours by a name that
holds the hash of its weights: another adapter of the same name is another one to it, and both can run at once.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.config import VLLMModel
from deployments.errors import BadRequest, ChatLLMError, NotFound, Overloaded, Unavailable
from deployments.lora.files import HUB_ID, allowed, checked, digest, find, is_below_a_root
from deployments.lora.types import KEY_MARK, Adapter
from deployments.models.adapters import held_at_most

logger = logging.getLogger(__name__)


class ServedNames(OpenAIServingModels):
    """vLLM's list of adapters; its answers name an adapter as the API does."""

    def model_name(self, lora_request: LoRARequest | None = None) -> str:
        """Return what an answer says under `model`."""
        return super().model_name(lora_request).partition(KEY_MARK)[0]


@dataclass(slots=True)
class _Held:
    """An adapter in the engine, and how many requests use it."""

    request: LoRARequest
    users: int = 0
    is_wanted: bool = True


class HeldAdapters:
    """Loads adapters into one engine, and drops each when nobody wants it and no request uses it."""

    def __init__(self, model: VLLMModel, client: AsyncLLM, names: OpenAIServingModels) -> None:
        self._model = model
        self._client = client
        self._names = names
        self._held: dict[str, _Held] = {}
        self._change = asyncio.Lock()

    @property
    def ids(self) -> list[str]:
        """What is held, each as `Adapter.key` names it."""
        return list(self._held)

    async def load(self, name: str, source: str) -> Adapter:
        """Find, check and load what an administrator names; raises a ChatLLMError that says what is wrong."""
        settings = allowed(self._model)
        if settings.hub and HUB_ID.fullmatch(source) and not is_below_a_root(settings, source):
            from deployments.lora.download import download, is_offline

            if not is_offline():
                await asyncio.to_thread(download, source, settings.max_bytes)
        adapter = await asyncio.to_thread(checked, self._model, name, source)
        await self._loaded(adapter)
        return adapter

    async def hold(self, adapters: Sequence[Adapter]) -> None:
        """Load these and drop all others; what cannot be loaded is logged, and tried again when it is asked for."""
        wanted = {adapter.key for adapter in adapters}
        for key, held in list(self._held.items()):
            held.is_wanted = key in wanted
            await self._drop_unless_used(key)
        for adapter in adapters:
            try:
                await self._loaded(adapter)
            except ChatLLMError as error:
                logger.warning("an adapter cannot be loaded: %s", error, extra={"adapter": adapter.id})

    @asynccontextmanager
    async def used(self, adapter: Adapter | None) -> AsyncGenerator[str]:
        """Keep an adapter loaded for one request, and give the name by which vLLM knows it; "" without an adapter.

        Raises Unavailable where this replica cannot load it, Overloaded while others fill its place.
        """
        if adapter is None:
            yield ""
            return
        key = adapter.key
        held = self._held.get(key)
        if held is None:
            try:
                held = await self._loaded(adapter)
            except (BadRequest, NotFound) as error:
                logger.warning("an adapter cannot be loaded: %s", error, extra={"adapter": adapter.id})
                raise Unavailable(f"The adapter {adapter.id!r} cannot be loaded here.", None, 5.0) from None
        held.users += 1
        try:
            yield key
        finally:
            held.users -= 1
            await asyncio.shield(self._drop_unless_used(key))

    async def _loaded(self, adapter: Adapter) -> _Held:
        """Load an adapter to the end, even if whoever asked for it leaves: vLLM cannot stop half-way."""
        return await asyncio.shield(self._load(adapter))

    async def _load(self, adapter: Adapter) -> _Held:
        key = adapter.key
        async with self._change:
            if held := self._held.get(key):
                held.is_wanted = True
                return held
            await self._make_room()
            settings = allowed(self._model)
            folder = await asyncio.to_thread(find, settings, adapter.source)
            request = LoRARequest(key, self._names.lora_id_counter.inc(1), str(folder))
            try:
                await self._client.add_lora(request)
                # After vLLM has read them: what was replaced meanwhile would answer under a name that is not its own.
                is_same = await asyncio.to_thread(digest, folder) == adapter.sha256
            except Exception as error:  # noqa: BLE001 - the boundary to vLLM: whatever it raises, the adapter is refused
                await self._client.remove_lora(request.lora_int_id)
                raise BadRequest(f"vLLM cannot load the adapter: {_first_line(error)}.", "source") from None
            if not is_same:
                await self._client.remove_lora(request.lora_int_id)
                raise BadRequest(f"The files of the adapter {adapter.id!r} have changed: load it again.", "source")
            held = self._held[key] = _Held(request)
            self._names.lora_requests[key] = request
            return held

    async def _make_room(self) -> None:
        """Drop the adapters that no request uses, the oldest first, until there is a place for one more."""
        idle = [key for key, held in self._held.items() if not held.users]
        while len(self._held) >= held_at_most(self._model):
            if not idle:
                raise Overloaded("All places for adapters are in use.", None, 5.0)
            await self._drop(idle.pop(0))

    async def _drop_unless_used(self, key: str) -> None:
        held = self._held.get(key)
        if held is not None and not held.is_wanted and not held.users:
            await self._drop(key)

    async def _drop(self, key: str) -> None:
        held = self._held.pop(key)
        self._names.lora_requests.pop(key, None)
        await self._client.remove_lora(held.request.lora_int_id)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:300] or type(error).__name__
