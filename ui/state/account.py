"""Everything that uses one API key: its client, running answers, and deletions, shared by all of its pages."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from ui.api.client import Api
from ui.api.readiness import Readiness
from ui.api.stream import Asks
from ui.files.pdf import PdfReader
from ui.markdown.pool import Renderer, RenderPool
from ui.settings import ApiKey, Settings
from ui.state.changes import Changes
from ui.state.deletions import Deletions
from ui.state.generation import Generations
from ui.state.submission import Shared
from ui.state.tasks import close_each
from ui.state.titles import Titles


class ClosableAsks(Asks, Protocol):
    """A client for streamed answers that can be closed."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


LoadAsks = Callable[[], Awaitable[Callable[[Settings], ClosableAsks]]]
"""Waits until the SDK is loaded; returns what makes an `Asks`."""


class Account:
    """The state of one API key; nothing of it is shared with another key."""

    def __init__(
        self,
        settings: Settings,
        key: ApiKey,
        readiness: Readiness,
        load: LoadAsks,
        pdf_places: asyncio.Semaphore,
        rendering: RenderPool,
    ) -> None:
        """`pdf_places` and `rendering` are for what all accounts read and render at once."""
        self._settings = replace(settings, api_key=key)
        self._load = load
        self._completions: ClosableAsks | None = None
        self.api = Api(self._settings)
        self.generations = Generations()
        self.deletions = Deletions(self.api)
        self.titles = Titles(self.api, self.generations, readiness, is_on=settings.titles)
        pdfs = PdfReader(pdf_places)
        self.shared = Shared(
            self.api,
            self.generations,
            readiness,
            self._asks,
            self.deletions,
            Changes("conversations"),
            pdfs,
            self.titles,
            Renderer(rendering),
        )

    async def aclose(self) -> None:
        """Stop following answers (the service continues them), complete pending deletions, and close the clients."""
        completions = () if self._completions is None else (self._completions.aclose,)
        await close_each(
            self.generations.aclose, self.titles.aclose, self.deletions.aclose, *completions, self.api.aclose
        )

    async def _asks(self) -> Asks:
        make = await self._load()
        if self._completions is None:
            self._completions = make(self._settings)
        return self._completions
