"""Routes, and the resources that all pages share; opened and closed with the process."""

import asyncio
import importlib
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from nicegui import app, background_tasks, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.readiness import Readiness
from ui.auth.link_entry import LinkEntry
from ui.auth.links import Links, opening_address
from ui.auth.returning import Returning
from ui.auth.session_middleware import Entry, SessionEntry, SessionMiddleware, cut, guard_sockets, not_found, session_of
from ui.auth.sessions import Session, Sessions
from ui.auth.sign_in import SignIn
from ui.chat.page import ChatPage
from ui.compare.page import ComparePage
from ui.files.pdf import MAX_OF_ALL_AT_ONCE
from ui.markdown.pool import RenderPool
from ui.ops.page import mount_ops
from ui.settings import ApiKey, Settings
from ui.sharing.page import SharedPages
from ui.state.account import Account, ClosableAsks
from ui.state.submission import Shared
from ui.state.tasks import Tasks, close_each, forever
from ui.theme import FAVICON, SafetyHeaders, apply_theme, serve_assets

FIRST_PAINT_S = 0.4  # what the service returns within this time is in the first HTML; the rest follows over the socket
LOAD_TIMEOUT_S = 60.0
LEAVE_S = 2.0  # how long pages of an ended session have to redirect to the sign-in
_CONVERSATION = re.compile(r"conv_[A-Za-z0-9_-]{1,80}")


class Service:
    """The process's connections and tasks. `mount` once, before the server starts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = Api(settings)
        self._public = Api(settings)  # separate, so that visitors of shared links do not use up the others' connections
        self._readiness = Readiness(self._api)
        self._sessions = Sessions(_leave, self._account, self._public)
        self._rendering = RenderPool()
        self._pdf_places = asyncio.Semaphore(MAX_OF_ALL_AT_ONCE)
        self._own = None if settings.must_sign_in else self._account(settings.api_key)
        self._loading: asyncio.Task[Callable[[Settings], ClosableAsks]] | None = None
        self._tasks = Tasks()

    @property
    def shared(self) -> Shared:
        """What all pages share where sign-in is off."""
        assert self._own is not None
        return self._own.shared

    def mount(self) -> None:
        """Register the routes and the lifespan of the connections."""
        serve_assets()
        app.on_startup(self._open)
        app.on_shutdown(self._close)
        if self._settings.must_sign_in:
            self._guard(SessionEntry(self._sessions, Returning(self._public, self._sessions)))
            SignIn(self._settings, self._sessions, self._public).mount()
        elif self._settings.links is not None:
            entry = LinkEntry(Links(self._settings.links), self._settings.port)
            self._guard(entry)
            entry.mount()

        mount_ops(self._settings)
        SharedPages(self._public, self._rendering).mount()

        @ui.page("/")
        async def home(model: str = "") -> None:
            await self._show(None, model=model)

        @ui.page("/c/{conversation_id}")
        async def conversation(conversation_id: str, branch: str = "") -> None:
            await self._show(conversation_id if _CONVERSATION.fullmatch(conversation_id) else None, branch=branch)

        @ui.page("/compare")
        async def compare() -> None:
            await self._compare(None)

        @ui.page("/compare/{conversation_id}")
        async def compared(conversation_id: str) -> None:
            await self._compare(conversation_id if _CONVERSATION.fullmatch(conversation_id) else None)

        del home, conversation, compare, compared  # the decorator has registered them

    def _guard(self, entry: Entry) -> None:
        app.add_middleware(SessionMiddleware, entry=entry)
        app.add_exception_handler(404, not_found)
        guard_sockets(self._settings.names)

    async def _show(self, conversation_id: str | None, branch: str = "", model: str = "") -> None:
        apply_theme()
        page = ChatPage(*self._visitor())
        await _opened(page.open(conversation_id, visit=False, branch=branch, model=model))
        ui.page_title(page.title)

    async def _compare(self, conversation_id: str | None) -> None:
        apply_theme()
        await _opened(ComparePage(*self._visitor()).open(conversation_id))

    def _visitor(self) -> tuple[Shared, Session | None]:
        """Return the account of this request's page, and its session where sign-in is on."""
        session = session_of(ui.context.client.request.scope)
        account = session.account if session else self._own
        assert account is not None  # the middleware admits nobody without a session where one is required
        return account.shared, session

    def _account(self, key: ApiKey) -> Account:
        return Account(self._settings, key, self._readiness, self._loaded, self._pdf_places, self._rendering)

    async def _loaded(self) -> Callable[[Settings], ClosableAsks]:
        assert self._loading is not None
        try:
            return await asyncio.wait_for(asyncio.shield(self._loading), LOAD_TIMEOUT_S)
        except TimeoutError as error:
            raise ApiError("unavailable") from error

    async def _open(self) -> None:
        self._loading = self._tasks.start(_load(), "load the SDK")
        self._tasks.start(forever(self._readiness.poll_forever, "polling /ready"), "poll /ready")
        self._tasks.start(forever(self._sessions.sweep_forever, "sweeping sessions"), "sweep sessions")
        self._tasks.start(self._rendering.warm_up(), "start the renderers")

    async def _close(self) -> None:
        own = () if self._own is None else (self._own.aclose,)
        await close_each(
            self._tasks.aclose,
            self._sessions.aclose,
            *own,
            self._public.aclose,
            self._api.aclose,
            self._rendering.aclose,
        )


async def _opened(opening: Coroutine[Any, Any, None]) -> None:
    """Wait for a page's content, but no longer than the first paint may take."""
    await asyncio.wait([background_tasks.create(opening, name="open a page")], timeout=FIRST_PAINT_S)


def _leave(session: Session) -> None:
    async def cut_later() -> None:
        await asyncio.sleep(LEAVE_S)
        await cut(session)

    background_tasks.create(cut_later(), name="close the sockets of a session")


async def _load() -> Callable[[Settings], ClosableAsks]:
    completion = await asyncio.to_thread(importlib.import_module, "ui.api.completion")
    return completion.Completions


def serve(settings: Settings) -> None:
    """Serve the page until the process is told to end; on a terminal, print the address."""
    Service(settings).mount()
    if sys.stderr.isatty():
        sys.stderr.write(f"{opening_address(settings)}\n")
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
