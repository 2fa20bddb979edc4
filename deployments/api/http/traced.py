"""The span of a request at the ingress; in the application only where traces are on (infra/tracing.py)."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.infra import tracing
from deployments.infra.timing import Timing

NOT_TRACED = ("/health", "/ready")


class Traced:
    """Makes a span of each sampled request, with its hops below; inside of RequestId, which makes the `Timing`."""

    def __init__(self, app: ASGIApp, past_routing: Collection[str] = ()) -> None:
        """`past_routing` has the paths that are answered without a route of the application."""
        self._app = app
        self._past_routing = past_routing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NOT_TRACED:
            await self._app(scope, receive, send)
            return
        headers, method = Headers(scope=scope), scope["method"]
        trace = tracing.begun("ingress", method, headers.get("traceparent", ""), headers.get("tracestate", ""))
        if trace is None:
            await self._app(scope, receive, send)
            return
        timing: Timing = scope["state"]["timing"]
        timing.tell = trace.hop
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with trace.entered():
                await self._app(scope, receive, send_and_note)
        except BaseException as error:
            tracing.failed(trace.span, error)
            raise
        finally:
            timing.tell = None
            _describe(trace, scope, self._route(scope), status)
            trace.span.end()

    def _route(self, scope: Scope) -> str:
        """Return the route of a request, "" where it has none, as one for an unknown path."""
        return getattr(scope.get("route"), "path", "") or (scope["path"] if scope["path"] in self._past_routing else "")


def _describe(trace: tracing.RequestTrace, scope: Scope, route: str, status: int) -> None:
    """Name the span after the route, never the path: ids, keys and share tokens stand in paths."""
    trace.span.update_name(f"{scope['method']} {route}".strip())
    trace.span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "chatllm.request_id": scope["state"]["request_id"],
        }
    )
    if status >= tracing.SERVER_ERROR:
        tracing.failed(trace.span, RuntimeError())
        trace.span.set_attribute("error.type", str(status))
