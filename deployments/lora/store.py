"""The interface of the store of loaded adapters."""

from collections.abc import Sequence
from typing import Protocol

from deployments.errors import Conflict, NotFound
from deployments.lora.types import Adapter


class AdapterStore(Protocol):
    """Which adapters are loaded, for all replicas and across restarts.

    Everywhere: `HistoryUnavailable` means that the store could not be reached in time, and whether a
    change happened is unknown.
    """

    async def list(self) -> Sequence[Adapter]:
        """Return all of them in the order of their names."""
        ...

    async def put(self, adapter: Adapter, max_adapters: int) -> Adapter:
        """Keep an adapter in place of one with its name, and return it with `loaded_at`.

        Raises Conflict where its model has `max_adapters` others.
        """
        ...

    async def remove(self, model: str, name: str) -> None:
        """Forget an adapter; NotFound if there is none."""
        ...


def too_many(model: str, max_adapters: int) -> Conflict:
    """Return the error for one adapter more than a model may have."""
    return Conflict(f"The model {model!r} has {max_adapters} loaded adapters, as many as it may: unload one first.")


def no_adapter(model: str, name: str) -> NotFound:
    """Return the error for an adapter that is not loaded."""
    return NotFound(f"There is no loaded adapter '{model}:{name}'.")
