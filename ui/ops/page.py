"""One open page of /ops: polls every few seconds while visible, and shows when that fails."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, tzinfo

from nicegui import app, background_tasks, ui

from ui.api.client import Api
from ui.api.errors import ApiError, explain
from ui.auth.session_middleware import leaving, session_of
from ui.auth.sessions import Reason, Session
from ui.i18n import t
from ui.ops.access import AskForKey, show_refusal
from ui.ops.admin_keys import AdminKeys
from ui.ops.board import Board
from ui.ops.dashboard import Dashboard
from ui.ops.formats import zone_named
from ui.ops.metrics import KeyUsage, Metrics, read_keys, read_metrics
from ui.settings import Settings
from ui.theme import apply_theme, asset
from ui.widgets.elements import tag

REFRESH_S = 3.0
KEYS_REFRESH_S = 30.0
FIRST_PAINT_S = 0.4


def mount_ops(settings: Settings) -> None:
    """Register the page."""
    dashboard, keys = Dashboard(settings.dashboard_url), AdminKeys(settings)
    app.on_shutdown(keys.aclose)

    @ui.page("/ops")
    async def ops() -> None:
        apply_theme()
        ui.page_title(t("Operations"))
        ui.add_head_html(
            f'<link rel="stylesheet" href="{asset("ops.css")}"><script defer src="{asset("ops.js")}"></script>'
        )
        page = OpsPage(dashboard, keys, session_of(ui.context.client.request.scope))
        opening = background_tasks.create(page.open(), name="open the operations page")
        await asyncio.wait([opening], timeout=FIRST_PAINT_S)

    del ops  # the decorator has registered it


@dataclass(frozen=True, slots=True)
class Range:
    """How far back the charts go, and in which steps."""

    window_s: int
    step_s: int


QUARTER, HOUR = Range(900, 15), Range(3600, 60)


class OpsPage:
    """The state of one browser page."""

    def __init__(self, dashboard: Dashboard, keys: AdminKeys, session: Session | None) -> None:
        """`session` is the visitor's where sign-in is on; otherwise the page asks for a key."""
        self._client = ui.context.client
        self._dashboard, self._clients, self._session = dashboard, keys, session
        self._own: Api | None = None
        self._range = QUARTER
        self._zone: tzinfo = UTC
        self._board: Board | None = None
        self._keys: list[KeyUsage] = []
        self._keys_read_at = 0.0
        self._requests = 0  # grows with every request, so that a late response is not shown
        self._is_reading = self._is_hidden = False
        self._root = tag("div", "ops")
        self._timer = ui.timer(REFRESH_S, self._refresh_unless_busy, active=False, immediate=False)
        ui.on("chatllm_looks", lambda event: self._on_looks(event.args))
        self._client.on_delete(lambda: self._clients.forget(self._own))
        if session is not None:
            self._client.on_delete(session.watch(self._on_signed_out))

    async def open(self) -> None:
        """Show the figures, or ask for a key."""
        if self._session is None:
            self._ask()
        else:
            self._show_board(self._session.account.api)
            await self._refresh()

    def _ask(self) -> None:
        self._leave_board()
        with self._root, tag("main"):
            AskForKey(self._try)

    async def _try(self, key: str) -> str:
        """Try a key and return the reason for a rejection, or ""."""
        api = self._own = self._clients.use(key)
        try:
            metrics = await self._read(api)
        except ApiError as error:
            self._clients.forget(api)
            if error.code == "permission_denied":
                self._refuse()
                return ""
            with self._root:
                return t("This key is unknown or no longer valid.") if error.status == 401 else explain(error).sentences
        self._show_board(api)
        self._draw(metrics)
        background_tasks.create(self._read_keys(api), name="read keys and their usage")
        return ""

    def _refuse(self) -> None:
        self._leave_board()
        with self._root, tag("main"):
            show_refusal(self._ask if self._session is None else None)

    def _leave_board(self) -> None:
        self._timer.deactivate()
        self._board = None
        self._requests += 1
        self._is_reading = False  # discards responses that are still pending
        self._root.clear()

    def _show_board(self, api: Api) -> None:
        self._root.clear()
        self._reading_api, self._keys_read_at = api, 0.0
        with self._root:
            out = (t("Sign out"), self._session.sign_out) if self._session else (t("Forget key"), self._forget)
            self._board = Board(self._pick, *out)
            self._board.choose(self._range == HOUR)
        if not self._is_hidden:
            self._timer.activate()

    async def _read(self, api: Api) -> Metrics:
        return await read_metrics(api, self._range.window_s, self._range.step_s)

    async def _refresh_unless_busy(self) -> None:
        if not self._is_reading:
            await self._refresh()

    async def _refresh(self) -> None:
        """Poll, and show the response unless a newer request was made meanwhile."""
        if self._board is None:
            return
        self._requests += 1
        expected, api = self._requests, self._reading_api
        self._is_reading = True
        try:
            metrics = await self._read(api)
            if expected == self._requests and not self._is_hidden:
                self._draw(metrics)
            if time.monotonic() - self._keys_read_at > KEYS_REFRESH_S:
                await self._read_keys(api)
        except ApiError as error:
            if expected == self._requests:
                self._fail(error)
        finally:
            if expected == self._requests:
                self._is_reading = False

    async def _read_keys(self, api: Api) -> None:
        """Load the slow part: usage by key. If that fails, the page keeps what it had."""
        self._keys_read_at = time.monotonic()
        try:
            keys = await read_keys(api)
        except ApiError:
            return
        link = await self._dashboard.link(self._client.request.url.hostname or "")
        if self._board is not None and api is self._reading_api:
            self._keys = keys
            with self._root:
                self._board.show_keys(keys)
                self._board.show_dashboard(link)

    def _draw(self, metrics: Metrics) -> None:
        if self._board is not None:
            with self._root:
                self._board.show(metrics, self._zone, self._keys)

    def _fail(self, error: ApiError) -> None:
        if error.code == "permission_denied":
            self._refuse()
        elif error.status == 401 and self._session is None:
            self._forget()
        elif self._board is not None:
            with self._root:
                self._board.fail(error)

    def _forget(self) -> None:
        """Forget the key, and ask for another."""
        self._clients.forget(self._own)
        self._own, self._keys = None, []
        self._ask()

    async def _pick(self, is_hour: bool) -> None:
        self._range = HOUR if is_hour else QUARTER
        if self._board is not None:
            self._board.choose(is_hour)
        await self._refresh()

    async def _on_looks(self, arguments: object) -> None:
        """Take the browser's time zone, and whether the page is visible."""
        zone, is_hidden = arguments if isinstance(arguments, list) and len(arguments) == 2 else ("UTC", False)
        self._zone, self._is_hidden = zone_named(zone), bool(is_hidden)
        if self._board is None:
            return
        if self._is_hidden:
            self._timer.deactivate()
            with self._root:
                self._board.pause()
        else:
            self._timer.activate()
            await self._refresh()

    def _on_signed_out(self, reason: Reason) -> None:
        """Redirect to the sign-in after the session has ended."""
        self._leave_board()
        self._client.run_javascript(leaving("/ops", reason))
