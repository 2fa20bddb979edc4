"""The dialog of the reader's sessions: lists the browsers that are signed in, and ends them."""

import re
from datetime import datetime
from functools import partial

from ui.api.client import Api
from ui.api.errors import ApiError, explain
from ui.api.schema import SignedIn
from ui.i18n import t
from ui.widgets.elements import attribute, button, dialog, tag, text_element

# The first that is found counts: most browsers name others as well.
BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
MAX_OTHER = 60


class SessionsDialog:
    """Opens at once; `load` adds the sessions.

    It asks with the token of the reader's own session: the account's calls carry that of any session of the reader's.
    """

    def __init__(self, api: Api, token: str) -> None:
        self._api, self._token = api, token
        with dialog(t("Your sessions")) as self._dialog, tag("div", "card wide"):
            text_element("h2", t("Your sessions"), "card-title")
            text_element("p", t("The browsers in which you are signed in."), "card-text")
            self._listed = tag("div", "share-list", aria_live="polite").mark("sessions")
            with tag("div", "card-actions"):
                button(t("Close"), self._dialog.close, "quiet").mark("sessions-close")
        self._dialog.on("hide", self._dialog.delete)
        self._dialog.open()

    async def load(self) -> None:
        """Show the sessions, the newest first."""
        try:
            sessions = await self._api.sessions(self._token)
        except ApiError as error:
            self._tell(error)
            return
        if self._dialog.is_deleted:
            return
        self._listed.clear()
        with self._listed:
            for session in sessions:
                self._row(session)

    async def _end(self, session: SignedIn) -> None:
        try:
            await self._api.end_session_of(self._token, session.id)
        except ApiError as error:
            if error.status != 404:
                self._tell(error)
                return
        await self.load()

    def _row(self, session: SignedIn) -> None:
        name = device_name(session.device) or t("Unknown device")
        used = t("last used {date}", date=f"{datetime.fromtimestamp(session.used_at):%Y-%m-%d %H:%M}")
        with tag("div", "share-row"):
            text_element("span", f"{name} · {used}", "session-device")
            if session.current:
                text_element("span", t("This browser"), "badge")
                return
            end = button(t("Sign out"), partial(self._end, session), "small quiet").mark(f"end-{session.id}")
            attribute(end, aria_label=t("Sign out of {device}", device=name))

    def _tell(self, error: ApiError) -> None:
        if not self._dialog.is_deleted:
            self._listed.clear()
            with self._listed:
                attribute(text_element("p", explain(error).sentences, "share-wrong"), role="alert")


def device_name(user_agent: str) -> str:
    """Return what a person calls a browser, from what it calls itself (RFC 9110, section 10.1.5)."""
    browser = next((name for token, name in BROWSERS.items() if re.search(rf"\b{token}\w*/", user_agent)), "")
    system = next((name for token, name in SYSTEMS.items() if token in user_agent), "")
    if browser and system:
        return t("{browser} on {system}", browser=browser, system=system)
    return browser or system or user_agent[:MAX_OTHER]
