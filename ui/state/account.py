"""Everything that acts with one API key: its calls, running answers and deletions, whoever's pages watch them."""

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
    """Whoever answers questions, with connections of its own."""

    async def aclose(self) -> None:
        """Let go of the connections."""
        ...


LoadAsks = Callable[[], Awaitable[Callable[[Settings], ClosableAsks]]]
"""Waits until the SDK is loaded; returns what makes an `Asks`."""


class Account:
    """Nothing of it is shared with another key's: what a page sees of running answers, it sees here."""

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
        """Follow no answer any more (the service goes on writing), delete what was to be deleted, forget the key."""
        completions = () if self._completions is None else (self._completions.aclose,)
        await close_each(
            self.generations.aclose, self.titles.aclose, self.deletions.aclose, *completions, self.api.aclose
        )

    async def _asks(self) -> Asks:
        make = await self._load()
        if self._completions is None:
            self._completions = make(self._settings)
        return self._completions
