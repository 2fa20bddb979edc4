"""The sign-in: a plain form without a socket, so that the key is sent to this process once, over HTTP."""

import asyncio
import math
import re
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import parse_qs

from nicegui import app
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ui.api.errors import ApiError, duration, explain
from ui.auth.session_middleware import COOKIE, SECURE_COOKIE, SIGN_IN, is_own_origin, safe_path, session_of
from ui.auth.sessions import LIFETIME_S, Sessions, TooManySessions
from ui.i18n import speaking, t
from ui.settings import ApiKey, Settings
from ui.state.account import Account
from ui.state.rate_limit import Attempts
from ui.static_page import static_page

MAX_BODY_BYTES = 4_096
BODY_TIMEOUT_S = 10.0
BURST, EVERY_S = 10, 30.0  # failed attempts from one address
_KEY = re.compile(r"[!-~]{1,200}")

MakeAccount = Callable[[ApiKey], Account]

WHY = {
    "refused": "The service no longer accepts your key. It may have been revoked. Your draft has been kept.",
    "expired": "Your session has expired. Sessions end after a day of inactivity or after a week. "
    "Your draft has been kept.",
    "out": "You have been signed out.",
}


class SignIn:
    """The routes of the sign-in."""

    def __init__(self, settings: Settings, sessions: Sessions, make: MakeAccount) -> None:
        self._settings, self._sessions, self._make = settings, sessions, make
        self._attempts = Attempts(BURST, EVERY_S)

    def mount(self) -> None:
        """Register them."""
        app.add_api_route(SIGN_IN, self._show, methods=["GET"], response_model=None, include_in_schema=False)
        app.add_api_route(SIGN_IN, self._take, methods=["POST"], response_model=None, include_in_schema=False)

    async def _show(self, request: Request) -> Response:
        path = safe_path(request.query_params.get("next", "/"))
        if session_of(request.scope) is not None:
            return RedirectResponse(path, 303)
        with _speaking(request):
            why = WHY.get(request.query_params.get("why", ""), "")
            return _form(path, notice=t(why) if why else "")

    async def _take(self, request: Request) -> Response:
        with _speaking(request):
            form = await _fields(request)
            path = safe_path(form.get("next", "/"))
            if not is_own_origin(request.headers, self._settings.names):
                return _form(path, t("This form was sent from another site. Please try again."), 403)
            address = request.client.host if request.client else ""
            if wait_s := self._attempts.take(address):
                refused = t("Too many failed attempts. Try again in {time}.", time=duration(wait_s))
                return _form(path, refused, 429, wait_s)
            try:
                token = await self._begin(form.get("key", "").strip(), _is_secure(request))
            except ApiError as error:
                if error.status != 401:
                    self._attempts.give_back(address)
                return _form(path, *_refusal(error))
            except TooManySessions:
                return _form(path, t("Too many users are signed in. Please try again later."), 503)
            self._attempts.give_back(address)
        if (before := session_of(request.scope)) is not None:
            self._sessions.end(before, "out")
        return _with_cookie(RedirectResponse(path, 303), token, _is_secure(request))

    async def _begin(self, key: str, is_secure: bool) -> str:
        """Return the cookie of a new session. Raises `ApiError` if the key is rejected or cannot be checked."""
        if not _KEY.fullmatch(key):
            raise ApiError("invalid_api_key", status=401)
        asking = self._make(ApiKey(key))
        try:
            name = (await asking.api.me()).name
        finally:
            await asking.aclose()
        return self._sessions.begin(key, name, is_secure, lambda refused: self._make(ApiKey(key, on_refused=refused)))


def _refusal(error: ApiError) -> tuple[str, int]:
    """Return the message for a failed attempt, and the response's status."""
    if error.status == 401:
        notice = t("The service does not recognize this key.")
        return (f"{notice} {error.message}" if error.message.startswith("This API key") else notice), 401
    return explain(error).sentences, error.status if error.status in (403, 429) else 503


def _form(path: str, wrong: str = "", status: int = 200, retry_after_s: float = 0, notice: str = "") -> Response:
    about = t("The key is kept on this page's server until you sign out. Your browser does not store it.")
    note = f'<p class="sign-in-wrong" id="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    note += f'<p class="sign-in-notice" role="status">{escape(notice)}</p>' if notice else ""
    flaw = ' aria-invalid="true" aria-describedby="wrong"' if wrong else ""
    body = f"""<main class="sign-in"><form class="sign-in-card" method="post" action="{SIGN_IN}">
<div class="sign-in-head"><span class="mark large" aria-hidden="true"></span><h1>{escape(t("Sign in"))}</h1>
<p>{escape(t("Use an API key for this service."))}</p></div>{note}
<label class="field"><span class="field-name">{escape(t("API key"))}</span>
<input class="plain-input" type="password" name="key" required autofocus autocomplete="off"
 autocapitalize="off" spellcheck="false" placeholder="sk-chatllm-…"{flaw}></label>
<input type="hidden" name="next" value="{escape(path)}">
<button class="button" type="submit">{escape(t("Sign in"))}</button>
<p class="sign-in-note">{escape(about)}</p>
</form></main>"""
    response = static_page(t("Sign in"), body, status, has_form=True)
    if retry_after_s:
        response.headers["retry-after"] = str(math.ceil(retry_after_s))
    return response


def _with_cookie(response: Response, token: str, is_secure: bool) -> Response:
    name = SECURE_COOKIE if is_secure else COOKIE
    response.set_cookie(name, token, int(LIFETIME_S), path="/", httponly=True, samesite="lax", secure=is_secure)
    response.headers["cache-control"] = "no-store"
    return response


def _is_secure(request: Request) -> bool:
    """Whether the browser connected over https, to this process or to a proxy in front of it."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _speaking(request: Request) -> Any:
    return speaking(request.headers.get("accept-language", ""))


async def _fields(request: Request) -> dict[str, str]:
    """Read the form; one that is too long or too slow counts as empty."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    return {}
    except TimeoutError:
        return {}
    return {name: values[0] for name, values in parse_qs(body.decode("ascii", "replace")).items()}
