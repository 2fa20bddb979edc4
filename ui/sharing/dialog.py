"""The dialog for sharing a conversation: creates, lists, and revokes links."""

import time
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from nicegui import ui

from ui.api.client import Api
from ui.api.errors import ApiError, explain
from ui.api.schema import Conversation, Share
from ui.i18n import t
from ui.settings import LOCAL
from ui.widgets.elements import attribute, button, dialog, tag, text_element

DAY_S = 86_400


class Sharing:
    """Opens at once; `load` adds the links. A link's content is fixed when it is created."""

    def __init__(self, api: Api, conversation: Conversation, until: str | None, is_secure: bool) -> None:
        """`until` is the last message to show (None: the newest); `is_secure` says that browsers come by https."""
        self._api, self._conversation, self._until = api, conversation, until
        request = ui.context.client.request
        self._origin = f"{'https' if is_secure else request.url.scheme}://{request.headers.get('host', '')}"
        self._days: int | None = None
        with dialog(t("Share conversation")) as self._dialog, tag("div", "card wide"):
            text_element("h2", t("Share conversation"), "card-title")
            about = t("Anyone with the link can read the conversation up to this point. Later messages are not shown.")
            text_element("p", about, "card-text")
            if urlsplit(self._origin).hostname in LOCAL:
                text_element("p", t("This page and its links can be reached from this computer only."), "card-text")
            self._choices = self._show_choices()
            self._made = tag("div", "share-made", aria_live="polite").mark("share-made")
            self._listed = tag("div", "share-list").mark("share-list")
            with tag("div", "card-actions"):
                button(t("Close"), self._dialog.close, "quiet").mark("share-close")
                button(t("Create link"), self._make).mark("share-make")
        self._dialog.on("hide", self._dialog.delete)
        self._choose(None)
        self._dialog.open()

    async def load(self) -> None:
        """Show the existing links."""
        try:
            shares = await self._api.shares(self._conversation.id)
        except ApiError as error:
            self._tell(error)
            return
        if self._dialog.is_deleted:
            return
        self._listed.clear()
        with self._listed:
            if shares:
                text_element("h3", t("Active links"), "share-heading")
            for share in shares:
                self._row(share)

    async def _make(self) -> None:
        expires_at = None if self._days is None else int(time.time()) + self._days * DAY_S
        try:
            share = await self._api.share(self._conversation.id, self._until, expires_at)
        except ApiError as error:
            self._tell(error)
            return
        if self._dialog.is_deleted:
            return
        link = f"{self._origin}/s/{share.token}"
        self._made.clear()
        with self._made:
            with tag("div", "share-link"):
                field = attribute(tag("input", "plain-input"), value=link, readonly="", aria_label=t("Link")).mark(
                    "link"
                )
                attribute(field, onfocus="this.select()")
                copy = button(t("Copy")).mark("copy-link")
                attribute(copy, data_act="copy-text", data_text=link, data_said=t("Copied"))
            text_element("p", t("Copy the link now. It is not stored and cannot be shown again."), "share-note")
        await self.load()

    async def _revoke(self, share: Share) -> None:
        try:
            await self._api.revoke(self._conversation.id, share.id)
        except ApiError as error:
            if error.status != 404:
                self._tell(error)
                return
        if not self._dialog.is_deleted:
            self._made.clear()
            await self.load()

    def _row(self, share: Share) -> None:
        with tag("div", "share-row"):
            created = t("Created on {date}", date=_moment(share.created_at))
            until = share.expires_at
            end = t("valid until {date}", date=_moment(until)) if until else t("never expires")
            text_element("span", f"{created} · {end}")
            revoke = button(t("Revoke"), partial(self._revoke, share), "small quiet").mark(f"revoke-{share.id}")
            attribute(revoke, aria_label=t("Revoke the link of {date}", date=_moment(share.created_at)))

    def _show_choices(self) -> dict[int | None, ui.element]:
        """Show for how long a link can be valid; menus.js moves among the choices by arrow keys."""
        made: dict[int | None, ui.element] = {}
        with tag("div", "choices", role="radiogroup", aria_label=t("How long the link stays valid")):
            text_element("span", t("Valid for"), "field-name")
            for days, label in ((1, t("1 day")), (7, t("7 days")), (30, t("30 days")), (None, t("no expiration"))):
                choice = button(label, partial(self._choose, days), "small quiet choice-chip").mark(f"valid-{days}")
                made[days] = attribute(choice, role="radio")
        return made

    def _choose(self, days: int | None) -> None:
        self._days = days
        for choice, made in self._choices.items():
            attribute(made, aria_checked=str(choice == days).lower(), tabindex="0" if choice == days else "-1")

    def _tell(self, error: ApiError) -> None:
        if not self._dialog.is_deleted:
            self._made.clear()
            with self._made:
                attribute(text_element("p", explain(error).sentences, "share-wrong"), role="alert")


def _moment(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s):%Y-%m-%d %H:%M}"
