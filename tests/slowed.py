"""The product's application with an ingress that blocks for 2 ms in each request: what the benches must notice.

python -m loadtests.relay --quick
python -m loadtests.relay --quick --app tests.slowed:build_app --baseline loadtests/results/….json
"""

import time
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from ray.serve import Application
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments import app as product
from deployments.api.server import Ingress
from deployments.config import Settings

BLOCKED_S = 0.002


class Blocking:
    """Holds the event loop for `blocked_s` in each request."""

    def __init__(self, app: ASGIApp, blocked_s: float = BLOCKED_S) -> None:
        self._app = app
        self._blocked_s = blocked_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            time.sleep(self._blocked_s)  # noqa: ASYNC251 - the fault
        await self._app(scope, receive, send)


class SlowIngress(Ingress):
    """The ingress with the fault in it."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        app: Any = super().__serve_build_asgi_app__()
        app.add_middleware(Blocking)
        return app


def build_app(args: Settings) -> Application:
    """Bind what the product binds, with the slow ingress in the ingress's place."""
    with patch.object(product, "Ingress", SlowIngress):
        return product.build_app(args)
