"""The short way to the one endpoint that nearly all requests are for."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.api.http.connection import ClientGone
from deployments.api.http.replies import error_response
from deployments.api.metering import CLIENT_GONE_STATUS
from deployments.errors import ChatLLMError


class Shortcut:
    """Calls one endpoint itself; the way through FastAPI to it takes as long as a cached answer does.

    The endpoint is a route of the application all the same, which documents it
    and which a test holds to the same answers.
    """

    def __init__(
        self, app: ASGIApp, method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._method = method
        self._path = path
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != self._method:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            answer = await self._endpoint(request)
        except ChatLLMError as error:
            answer = error_response(error, request.state.request_id)
        except ClientGone:
            answer = answer_nobody()
        await answer(scope, receive, send)


def answer_nobody() -> Response:
    """Return the response for a client that has left: its status is for operators."""
    return Response(status_code=CLIENT_GONE_STATUS)
