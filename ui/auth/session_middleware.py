"""Access control: every request and every socket belongs to an admitted visitor, or to nobody.

SessionMiddleware  HTTP requests of nobody get only public pages, assets, and the sign-in
guard_sockets      socket messages reach only pages of the same visitor
Entry              how visitors are admitted: `SessionEntry` by signing in, `link_entry` by a one-time link
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from html import escape
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from nicegui import Client, core, nicegui
from socketio import exceptions
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.api.errors import ApiError, explain
from ui.auth.returning import Returning
from ui.auth.sessions import Reason, Session, Sessions
from ui.i18n import speaking, t
from ui.static_page import static_page

SIGN_IN = "/sign-in"
CHANGE_PASSWORD = "/password"  # noqa: S105 - a path
COOKIE, SECURE_COOKIE = "chatllm", "__Host-chatllm"  # browsers accept the second only from this host over https
_VISITOR = "chatllm.visitor"  # in the ASGI scope of a request
_PUBLIC = re.compile(r"/sign-in|/open|/s/[^/]+|/favicon\.ico|/assets/.+|/_nicegui_ws/.*|/_nicegui/[\d.]+\w*/.+")
MAX_UPLOAD_BYTES = 17 * 1024 * 1024  # the largest upload of any part of the page, and the form around it
_UPLOAD = re.compile(r"/_nicegui/client/([^/]+)/upload/\d+")
HEARD = ("connect", "handshake", "event", "javascript_response", "ack", "log")  # what NiceGUI has a handler for
_PAGE = re.compile(r"/(?:[\w-]+(?:/[\w-]+)*)?")


class Visitor(Protocol):
    """An admitted visitor; pages and sockets are compared by identity."""

    @property
    def ended(self) -> object:
        """Not None once the visitor's access has ended."""
        ...

    def touch(self) -> None:
        """Record activity of this visitor."""
        ...


class Entry(Protocol):
    """How visitors are admitted."""

    async def visitor(self, headers: Headers, is_https: bool) -> Visitor | None:
        """Return the visitor of a request, or None; raises `ApiError` where that cannot be told now."""
        ...

    def refusal(self, scope: Scope) -> ASGIApp:
        """Return the response to an unauthenticated request for something that is not public."""
        ...


class SessionMiddleware:
    """Finds the visitor of each request; without one, responds with the sign-in."""

    def __init__(self, app: ASGIApp, entry: Entry) -> None:
        self._app, self._entry = app, entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the app, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            is_https = scope["scheme"] in ("https", "wss")
            visitor, trouble = None, None
            try:
                visitor = await self._entry.visitor(Headers(scope=scope), is_https)
            except ApiError as error:
                trouble = error
            scope[_VISITOR] = visitor
            if scope["type"] == "http":
                if visitor is not None:
                    visitor.touch()
                if (refusal := self._refusal(scope, visitor, trouble)) is not None:
                    await refusal(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, visitor: Visitor | None, trouble: ApiError | None) -> ASGIApp | None:
        path: str = scope["path"]
        if upload := _UPLOAD.fullmatch(path):
            if not _owns(visitor, upload[1]):
                return PlainTextResponse("This page belongs to another visitor.", 403)
            return None if _is_bounded(Headers(scope=scope)) else PlainTextResponse("The file is too large.", 413)
        if visitor is not None or _PUBLIC.fullmatch(path):
            return None
        return _unknown(scope, trouble) if trouble else self._entry.refusal(scope)


class SessionEntry:
    """Visitors who sign in: their sessions' cookies."""

    def __init__(self, sessions: Sessions, returning: Returning) -> None:
        self._sessions, self._returning = sessions, returning

    async def visitor(self, headers: Headers, is_https: bool) -> Session | None:
        """Return the session whose cookie the request carries; raises `ApiError` where the service cannot be asked."""
        cookies = cookies_of(headers)
        for name, is_secure in ((SECURE_COOKIE, True), (COOKIE, False)):
            # Any page under a sibling host could have set the plain name: a session that began over https is not
            # taken from it, and over https none is, or it could be that of whoever set it.
            if not (token := cookies.get(name, "")) or (is_https and not is_secure):
                continue
            session = self._sessions.find(token) or await self._returning.session(token, is_secure)
            if session is None or session.is_secure != is_secure:
                continue
            if await self._sessions.confirms(session):
                return session
        return None

    def refusal(self, scope: Scope) -> ASGIApp:
        """Redirect to the sign-in."""
        if scope["method"] in ("GET", "HEAD"):
            return RedirectResponse(sign_in_address(scope["path"]), 303, {"cache-control": "no-store"})
        return PlainTextResponse("Sign in first.", 401)


def _unknown(scope: Scope, trouble: ApiError) -> ASGIApp:
    """Return the response to a visitor of whom it cannot be told now whether they have signed in."""
    with speaking(Headers(scope=scope).get("accept-language", "")):
        advice = explain(trouble)
        body = (
            '<main class="sign-in"><div class="sign-in-card"><div class="sign-in-head">'
            f'<span class="mark large" aria-hidden="true"></span><h1>{escape(advice.title)}</h1></div>'
            f'<p class="sign-in-text">{escape(t("You are still signed in. Reload this page in a moment."))}</p>'
            "</div></main>"
        )
        response = static_page(advice.title, body, 503)
    response.headers["retry-after"] = "5"
    return response


async def not_found(request: Request, error: Exception) -> Response:
    """Respond to unauthenticated visitors without a NiceGUI page, which would stay in memory for a while."""
    if request.scope.get(_VISITOR, _VISITOR) is None:
        return PlainTextResponse("Not found.", 404)
    return await getattr(nicegui, "_exception_handler_404")(request, error)  # noqa: B009 - it is NiceGUI's own


def session_of(scope: Scope) -> Session | None:
    """Return the session of the request, if its visitor has signed in."""
    visitor = scope.get(_VISITOR)
    return visitor if isinstance(visitor, Session) else None


def sign_in_address(path: str, reason: Reason | None = None) -> str:
    """Return the sign-in address that leads back to `path`."""
    why = f"&why={reason}" if reason else ""
    return f"{SIGN_IN}?next={quote(safe_path(path))}{why}"


def leaving(path: str, reason: Reason, unsent: str = "") -> str:
    """Return the JavaScript that redirects the page at `path` to the sign-in after its session has ended.

    The unsent text stays as a draft, after `unsent`; signing out discards it.
    """
    stays = reason != "out"
    arguments = sign_in_address(path, reason), stays, unsent if stays else ""
    return f"chatllm.leave({', '.join(map(json.dumps, arguments))})"


def safe_path(path: str) -> str:
    """Return `path` if it is a page of this origin, else the first page."""
    return path if _PAGE.fullmatch(path) else "/"


def is_own_origin(headers: Headers, names: Collection[str]) -> bool:
    """Whether the Origin header names this page: the requested host or one of `names`."""
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:  # it has a bracket that does not close
        return False
    return bool(origin.netloc) and (origin.netloc == headers.get("host") or origin.hostname in names)


def _is_bounded(headers: Headers) -> bool:
    """Whether Content-Length is within the limit: the limits of the widgets are enforced by browsers only."""
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) < 10 and int(length) <= MAX_UPLOAD_BYTES


def _owns(visitor: Visitor | None, client_id: object) -> bool:
    client = Client.instances.get(str(client_id))
    if client is None:
        return False
    return _visitor_of(client.request.scope) is visitor and (visitor is None or visitor.ended is None)


def _visitor_of(scope: Scope) -> Visitor | None:
    return scope.get(_VISITOR)


def cookies_of(headers: Headers) -> dict[str, str]:
    """Parse the cookies, including malformed ones of other pages, at which the standard library gives up."""
    pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


# NiceGUI accepts an event from any socket that names the page's id. The id cannot be guessed, but it is no
# secret either: it is part of addresses that proxies log. So every message is checked against the visitor
# who opened its socket.

Handler = Callable[..., Any]


def guard_sockets(names: Collection[str]) -> None:
    """Restrict each socket to the pages of its own visitor; `names` are further host names of the page.

    Idempotent.
    """
    heard = {name: getattr(nicegui, f"_on_{name}") for name in HEARD}

    async def on_connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:
        scope, client_id = environ["asgi.scope"], _client_id(environ)
        if not is_own_origin(Headers(scope=scope), names):
            raise exceptions.ConnectionRefusedError("The request comes from another site.")
        if client_id and not _owns(_visitor_of(scope), client_id):
            # NiceGUI's own message: its script then reloads the page, which shows the sign-in.
            raise exceptions.ConnectionRefusedError("Implicit handshake failed")
        await heard["connect"](sid, environ, auth)

    async def on_handshake(sid: str, data: dict[str, Any]) -> bool:
        return _owns(_visitor_of_socket(sid), data.get("client_id")) and await heard["handshake"](sid, data)

    core.sio.on("connect", on_connect)
    core.sio.on("handshake", on_handshake)
    for name in ("event", "javascript_response", "ack", "log"):
        core.sio.on(name, _guarded(heard[name], is_reader=name == "event"))


async def cut(session: Session) -> None:
    """Close the sockets of a session's pages; their browsers reconnect and get the sign-in."""
    for client in [client for client in Client.instances.values() if session_of(client.request.scope) is session]:
        for _, connection in list(core.sio.manager.get_participants("/", client.id)):
            await core.sio.eio.disconnect(connection)


def _guarded(handler: Handler, *, is_reader: bool) -> Handler:
    """Return a handler that accepts messages only from the page's own visitor; `is_reader` records activity."""

    def guarded(sid: str, message: dict[str, Any]) -> None:
        visitor = _visitor_of_socket(sid)
        if _owns(visitor, message.get("client_id")):
            if visitor is not None and is_reader:
                visitor.touch()
            handler(sid, message)

    return guarded


def _visitor_of_socket(sid: str) -> Visitor | None:
    environ: dict[str, Any] = core.sio.get_environ(sid) or {}
    return _visitor_of(environ.get("asgi.scope", {}))


def _client_id(environ: Mapping[str, Any]) -> str:
    return parse_qs(environ.get("QUERY_STRING", "")).get("client_id", [""])[0]
