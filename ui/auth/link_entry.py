"""Access for the page's owner: a one-time link gives a browser a cookie, and only that cookie opens the page."""

from html import escape

from nicegui import app
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Scope

from ui.auth.links import BROWSER_S, PATH, Links
from ui.auth.session_middleware import cookies_of
from ui.i18n import speaking, t
from ui.static_page import static_page

COMMAND = "make link"


class Owner:
    """Every browser that followed a link: they belong to one person and may use each other's pages."""

    ended = None

    def touch(self) -> None:
        """Does nothing: this access does not expire by inactivity."""


class LinkEntry:
    """The route of the links, and the check of each request's cookie."""

    def __init__(self, links: Links, port: int) -> None:
        """`port` is the page's: browsers share cookies among all ports of a host, and so do other installations."""
        self._links = links
        self._cookie = f"chatllm-{port}"
        self._owner = Owner()

    def mount(self) -> None:
        """Register the route."""
        app.add_api_route(PATH, self._enter, methods=["GET"], response_model=None, include_in_schema=False)

    async def visitor(self, headers: Headers, is_https: bool) -> Owner | None:
        """Return the owner if the request comes from a browser that followed a link."""
        cookie = cookies_of(headers).get(self._cookie_name(is_https), "")
        return self._owner if self._links.knows(cookie) else None

    def refusal(self, scope: Scope) -> ASGIApp:
        """Return the response for everyone else."""
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Open the page with a one-time link first.", 403)
        with speaking(headers.get("accept-language", "")):
            return _refused("")

    async def _enter(self, request: Request) -> Response:
        is_https = request.url.scheme == "https"
        before = cookies_of(request.headers).get(self._cookie_name(is_https), "")
        cookie = self._links.follow(request.query_params.get("link", ""))
        if cookie is None and not self._links.knows(before):
            with speaking(request.headers.get("accept-language", "")):
                return _refused(t("This link has already been used or has expired."))
        # The address with the link is left at once, so that it does not stay in the history or leak as a referrer.
        response = RedirectResponse("/", 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
        if cookie is not None:
            self._links.forget(before)
            # Lax: a strict one would not be sent where another program's page leads here, as the launcher's file does.
            response.set_cookie(
                self._cookie_name(is_https),
                cookie,
                int(BROWSER_S),
                path="/",
                httponly=True,
                samesite="lax",
                secure=is_https,
            )
        return response

    def _cookie_name(self, is_https: bool) -> str:
        return f"__Host-{self._cookie}" if is_https else self._cookie


def _refused(entry: str) -> Response:
    note = f'<p class="sign-in-wrong" role="alert">{escape(entry)}</p>' if entry else ""
    about = t(
        "This page belongs to the user who started ChatLLM on this machine. "
        "If that is you, run this command in the ChatLLM folder:"
    )
    after = t("Then open the link it prints. The link works once; this browser then stays signed in for 30 days.")
    body = (
        '<main class="sign-in"><div class="sign-in-card"><div class="sign-in-head">'
        f'<span class="mark large" aria-hidden="true"></span><h1>{escape(t("Open ChatLLM with a link"))}</h1></div>'
        f'{note}<p class="sign-in-text">{escape(about)}</p><pre class="sign-in-command">{COMMAND}</pre>'
        f'<p class="sign-in-text">{escape(after)}</p></div></main>'
    )
    return static_page(t("Open ChatLLM with a link"), body, 403)
