"""API clients for keys that were entered in open /ops pages, until the page or the process ends."""

from dataclasses import replace

from nicegui import background_tasks

from ui.api.client import Api
from ui.settings import ApiKey, Settings


class AdminKeys:
    """Creates and closes API clients for entered keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: set[Api] = set()

    def use(self, key: str) -> Api:
        """Return a client for a key; valid until `forget`."""
        api = Api(replace(self._settings, api_key=ApiKey(key)))
        self._open.add(api)
        return api

    def forget(self, api: Api | None) -> None:
        """Close a client in the background."""
        if api is not None and api in self._open:
            self._open.discard(api)
            background_tasks.create(api.aclose(), name="forget a key")

    async def aclose(self) -> None:
        """Close all clients."""
        while self._open:
            await self._open.pop().aclose()
