"""The keys that open pages of /ops were given: each in the memory of its page, until the page or the process ends."""

from dataclasses import replace

from nicegui import background_tasks

from ui.api.client import Api
from ui.settings import ApiKey, Settings


class AdminKeys:
    """Makes what acts with a key, and closes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: set[Api] = set()

    def use(self, key: str) -> Api:
        """Return what acts with a key, until `forget`."""
        api = Api(replace(self._settings, api_key=ApiKey(key)))
        self._open.add(api)
        return api

    def forget(self, api: Api | None) -> None:
        """Let go of a key, behind this call."""
        if api is not None and api in self._open:
            self._open.discard(api)
            background_tasks.create(api.aclose(), name="forget a key")

    async def aclose(self) -> None:
        """Let go of all keys."""
        while self._open:
            await self._open.pop().aclose()
