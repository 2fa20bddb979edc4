"""Routes, and what all pages share: opened with the process, closed with it."""

import asyncio
import importlib
import re

from nicegui import app, background_tasks, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ui.asking import Shared
from ui.client import Api
from ui.deletions import Deletions
from ui.generation import Generations
from ui.page import ChatPage
from ui.readiness import Readiness
from ui.settings import Settings
from ui.stream import Asks
from ui.theme import FAVICON, SafetyHeaders, apply_theme, serve_assets
from ui.trouble import Trouble

FIRST_PAINT_S = 0.4  # what the service answers within this time is in the first HTML; the rest follows by itself
LOAD_TIMEOUT_S = 60.0
_CONVERSATION = re.compile(r"conv_[A-Za-z0-9_-]{1,80}")


class Service:
    """The process's connections and tasks. `mount` once, before the server starts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = Api(settings)
        self._generations = Generations()
        self._readiness = Readiness(self._api)
        self._loading: asyncio.Task[Asks] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._deletions = Deletions(self._api)
        self.shared = Shared(self._api, self._generations, self._readiness, self._asks, self._deletions)

    def mount(self) -> None:
        """Register the routes and the life of the connections."""
        serve_assets()
        app.on_startup(self._open)
        app.on_shutdown(self._close)

        @ui.page("/")
        async def home() -> None:
            await self._show(None)

        @ui.page("/c/{conversation_id}")
        async def conversation(conversation_id: str) -> None:
            await self._show(conversation_id if _CONVERSATION.fullmatch(conversation_id) else None)

        del home, conversation  # the decorator has registered them

    async def _show(self, conversation_id: str | None) -> None:
        apply_theme()
        page = ChatPage(self.shared)
        opening = background_tasks.create(page.open(conversation_id, visit=False), name="open a conversation")
        await asyncio.wait([opening], timeout=FIRST_PAINT_S)

    async def _asks(self) -> Asks:
        assert self._loading is not None
        try:
            return await asyncio.wait_for(asyncio.shield(self._loading), LOAD_TIMEOUT_S)
        except TimeoutError as error:
            raise Trouble("unavailable") from error

    async def _open(self) -> None:
        self._loading = asyncio.create_task(self._load())
        self._polling = asyncio.create_task(self._readiness.poll_forever())

    async def _load(self) -> Asks:
        completion = await asyncio.to_thread(importlib.import_module, "ui.completion")
        self._completions = completion.Completions(self._settings)
        return self._completions

    async def _close(self) -> None:
        for task in (self._loading, self._polling):
            if task is not None:
                task.cancel()
        await self._generations.aclose()
        await self._deletions.aclose()
        if self._loading is not None and self._loading.done() and not self._loading.cancelled():
            await self._completions.aclose()
        await self._api.aclose()


def serve(settings: Settings) -> None:
    """Serve the page until the process is told to end."""
    Service(settings).mount()
    if settings.is_local:  # a foreign site must not reach the page under a name of its own (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", *settings.names])
    app.add_middleware(SafetyHeaders)
    ui.run(
        host=settings.host,
        port=settings.port,
        title="ChatLLM",
        favicon=FAVICON,
        language=None,  # each page names its own
        reload=False,
        show=False,
        show_welcome_message=False,
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=30.0,
        message_history_length=300,
    )
