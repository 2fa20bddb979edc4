"""The sign-in: plain forms without a socket, so that a password or key is sent to this process once, over HTTP."""

import asyncio
import re
from typing import Any
from urllib.parse import parse_qs

from nicegui import app
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ui.api.client import Api
from ui.api.errors import ApiError, duration, explain
from ui.auth.session_middleware import (
    CHANGE_PASSWORD,
    COOKIE,
    SECURE_COOKIE,
    SIGN_IN,
    is_own_origin,
    safe_path,
    session_of,
)
from ui.auth.sessions import COOKIE_S, Begun, Sessions, TooManySessions
from ui.auth.sign_in_pages import change_page, sign_in_page
from ui.i18n import speaking, t
from ui.settings import Settings
from ui.state.rate_limit import Attempts

MAX_BODY_BYTES = 4_096
BODY_TIMEOUT_S = 10.0
BURST, EVERY_S = 10, 30.0  # failed attempts from one address
MAX_DEVICE = 200
MAX_FIELDS = 10
_KEY = re.compile(r"[!-~]{1,200}")

MUST_CHANGE = "password_change_required"

WHY = {
    "refused": "Your session has ended, or your access was revoked. Your draft has been kept.",
    "expired": "Your session has expired. Your draft has been kept.",
    "out": "You have been signed out.",
}


class SignIn:
    """The routes of the sign-in."""

    def __init__(self, settings: Settings, sessions: Sessions, api: Api) -> None:
        self._settings, self._sessions, self._api = settings, sessions, api
        self._attempts = Attempts(BURST, EVERY_S)

    def mount(self) -> None:
        """Register them."""
        for path, method, endpoint in (
            (SIGN_IN, "GET", self._show),
            (SIGN_IN, "POST", self._take),
            (CHANGE_PASSWORD, "GET", self._show_change),
        ):
            app.add_api_route(path, endpoint, methods=[method], response_model=None, include_in_schema=False)

    async def _show(self, request: Request) -> Response:
        path = safe_path(request.query_params.get("next", "/"))
        if session_of(request.scope) is not None:
            return RedirectResponse(path, 303)
        with _speaking(request):
            why = WHY.get(request.query_params.get("why", ""), "")
            return sign_in_page(path, notice=t(why) if why else "")

    async def _show_change(self, request: Request) -> Response:
        """Return the form that changes the visitor's password, for those who have one."""
        session = session_of(request.scope)
        with _speaking(request):
            try:
                me = await session.account.api.me() if session else None
            except ApiError as error:
                return change_page("/", "", *_change_refusal(error))
            if me is None or me.username is None:
                return RedirectResponse("/", 303)
            return change_page("/", me.username, about=t("Your other sessions will end."))

    async def _take(self, request: Request) -> Response:
        with _speaking(request):
            form = await _fields(request)
            path = safe_path(form.get("next", "/"))
            if not is_own_origin(request.headers, self._settings.names):
                return sign_in_page(path, t("This form was sent from another site. Please try again."), 403)
            address = request.client.host if request.client else ""
            if wait_s := self._attempts.take(address):
                refused = t("Too many failed attempts. Try again in {time}.", time=duration(wait_s))
                return sign_in_page(path, refused, 429, wait_s)
            try:
                begun = await self._begin(form, request.headers.get("user-agent", ""))
                self._sessions.admit(begun, _is_secure(request))
            except ApiError as error:
                if error.status != 401:
                    self._attempts.give_back(address)
                if error.code == MUST_CHANGE or "new_password" in form:
                    return change_page(path, form.get("username", ""), *_change_refusal(error))
                return sign_in_page(path, *_refusal(error), username=form.get("username", ""), by_key="key" in form)
            except TooManySessions:
                return sign_in_page(path, t("Too many users are signed in. Please try again later."), 503)
            self._attempts.give_back(address)
        if (before := session_of(request.scope)) is not None:
            self._sessions.end(before, "out")
        return _with_cookie(RedirectResponse(path, 303), begun.token, _is_secure(request))

    async def _begin(self, form: dict[str, str], device: str) -> Begun:
        """Return a new session. Raises `ApiError` if the credentials are rejected or cannot be checked."""
        if "key" in form:
            key = form["key"].strip()
            if not _KEY.fullmatch(key):
                raise ApiError("invalid_api_key", status=401)
            signed = await self._api.begin_session({}, _printable(device), key)
        else:
            credentials = {name: form.get(name, "") for name in ("username", "password")}
            credentials |= {"new_password": form["new_password"]} if "new_password" in form else {}
            signed = await self._api.begin_session(credentials, _printable(device))
        return Begun(signed.token, signed.owner, signed.name)


def _refusal(error: ApiError) -> tuple[str, int]:
    """Return the message for a failed attempt, and the response's status."""
    if error.code == "sign_in_failed":
        notice = t("The username or the password is wrong.")
        return (error.message if error.message.startswith("This account") else notice), 401
    if error.status == 401:
        notice = t("The service does not recognize this key.")
        return (f"{notice} {error.message}" if error.message.startswith("This API key") else notice), 401
    if error.status == 429 and error.retry_after_s:
        return t("Too many failed attempts. Try again in {time}.", time=duration(error.retry_after_s)), 429
    return explain(error).sentences, error.status if error.status in (403, 429) else 503


def _change_refusal(error: ApiError) -> tuple[str, int]:
    """Return the message for a password that must be or could not be changed, and the response's status."""
    if error.code == MUST_CHANGE:
        return "", 200
    return (error.message, 400) if error.status == 400 else _refusal(error)


def _printable(device: str) -> str:
    """Return what a browser calls itself, as a header can carry it."""
    return "".join(character for character in device[:MAX_DEVICE] if " " <= character <= "~") or "unknown"


def _with_cookie(response: Response, token: str, is_secure: bool) -> Response:
    name = SECURE_COOKIE if is_secure else COOKIE
    response.set_cookie(name, token, int(COOKIE_S), path="/", httponly=True, samesite="lax", secure=is_secure)
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
    try:
        fields = parse_qs(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}
