"""The product's application with an ingress that says in each answer which node it is on."""

import os
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from ray.serve import Application
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import app as product
from deployments.api.server import Ingress
from deployments.config import Settings

NODE_HEADER = "x-node"


class Named:
    """Adds the node's name to each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._header = (NODE_HEADER.encode(), os.uname().nodename.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header]
            await send(message)

        await self._app(scope, receive, named)


class NamedIngress(Ingress):
    """The ingress, on a node with a name."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        app: Any = super().__serve_build_asgi_app__()
        app.add_middleware(Named)
        return app


def build_app(args: Settings) -> Application:
    """Bind what the product binds, with the named ingress in the ingress's place."""
    with patch.object(product, "Ingress", NamedIngress):
        return product.build_app(args)
