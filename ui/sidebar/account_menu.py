"""The account menu: who one is, the limits and what is left of them, this month's usage, the sessions, and sign-out."""

from datetime import datetime
from functools import partial

from nicegui import ui

from ui.api.client import Api
from ui.api.errors import ApiError, duration, explain
from ui.api.schema import Left, Me
from ui.auth.session_middleware import CHANGE_PASSWORD
from ui.auth.sessions import Session
from ui.i18n import t
from ui.sidebar.sessions_dialog import SessionsDialog
from ui.widgets.elements import attribute, button, tag, text_element


class AccountMenu:
    """A button with the user's or key's name. The menu loads each time it opens, because limits refill continuously."""

    def __init__(self, api: Api, session: Session | None) -> None:
        self._api, self._session = api, session
        self._page = ui.context.client.content
        self._button = attribute(tag("button", "account"), type="button", aria_haspopup="dialog").mark("account")
        attribute(self._button, aria_expanded="false")
        with self._button:
            self._name = text_element("span", session.name if session else t("Your account"), "account-name")
            with ui.menu().props("anchor='top left' self='bottom left'").classes("menu account-menu") as self._menu:
                self._content = tag("div", "account-content")
        attribute(self._menu, role="dialog", aria_label=t("Your account"))
        self._menu.on_value_change(lambda event: attribute(self._button, aria_expanded=str(event.value).lower()))
        self._button.on("click", self._load, args=[])

    async def _load(self) -> None:
        try:
            me = await self._api.me()
        except ApiError as error:
            with self._refilled():
                text_element("p", explain(error).title, "account-note")
                self._offer_sign_out()
            return
        self._name.text = me.name
        with self._refilled():
            self._show(me)
            if self._session is not None:
                self._offer_sessions(self._session.begun.token, has_password=me.username is not None)
            self._offer_sign_out()

    def _refilled(self) -> ui.element:
        self._content.clear()
        return self._content

    def _show(self, me: Me) -> None:
        with tag("div", "account-head"):
            text_element("strong", me.name, "account-title").mark("account-title")
            text_element("span", me.username or f"…{me.last4}", "account-last4")
            if me.admin:
                text_element("span", t("Administrator"), "badge")
        for name, label in limit_names():
            if left := me.remaining.get(name):
                _show_left(label, left)
        if at_once := me.limits.get("concurrent_requests"):
            _show_fact(t("Concurrent answers"), f"{at_once:,}")
        if not at_once and not any(me.limits.get(name) for name, _ in limit_names()):
            text_element("p", t("No limits apply to you."), "account-note")
        used = me.usage
        tokens, requests = f"{used.total_tokens:,}", f"{used.requests:,}"
        _show_fact(t("This month"), t("{tokens} tokens, {requests} requests", tokens=tokens, requests=requests))
        if used.cached_tokens:
            _show_fact(t("Served from cache"), t("{count} tokens", count=f"{used.cached_tokens:,}"))
        if me.expires_at:
            _show_fact(t("Valid until"), f"{datetime.fromtimestamp(me.expires_at):%Y-%m-%d}")

    def _offer_sessions(self, token: str, *, has_password: bool) -> None:
        with tag("div", "account-actions"):
            button(t("Sessions"), partial(self._show_sessions, token), "quiet small").mark("sessions-open")
            if has_password:
                change = text_element("a", t("Change password"), "button quiet small").mark("change-password")
                attribute(change, href=CHANGE_PASSWORD)

    async def _show_sessions(self, token: str) -> None:
        self._menu.close()
        with self._page:
            opened = SessionsDialog(self._api, token)
        await opened.load()

    def _offer_sign_out(self) -> None:
        if (session := self._session) is not None:
            button(t("Sign out"), session.sign_out, "quiet small").mark("sign-out")


def limit_names() -> list[tuple[str, str]]:
    """Return the limits that can be counted down, by their names in the API, with what they are called."""
    return [
        ("requests_per_minute", t("Requests per minute")),
        ("tokens_per_minute", t("Tokens per minute")),
        ("tokens_per_month", t("Tokens this month")),
    ]


def _show_left(label: str, left: Left) -> None:
    with tag("div", "quota low" if left.remaining * 10 < left.limit else "quota"):
        _show_fact(label, t("{left} of {limit} left", left=f"{left.remaining:,}", limit=f"{left.limit:,}"))
        attribute(tag("progress", "quota-bar"), value=str(left.remaining), max=str(left.limit), aria_label=label)
        if left.reset_s >= 1:
            text_element("div", t("Full again in {time}", time=duration(left.reset_s)), "quota-reset")


def _show_fact(label: str, value: str) -> None:
    with tag("div", "fact"):
        text_element("span", label, "fact-name")
        text_element("span", value, "fact-value")
