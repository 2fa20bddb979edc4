"""The product's scripted model, which notes in the state folder each generation that it begins."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray.serve import Application

from deployments import app as product
from deployments.models.deployment import Scripted
from deployments.models.protocol import Message, ModelRequest, Progress

FILE = "begun"


class Counted(Scripted):
    """Notes the id of each request."""

    async def generate(self, model_request: ModelRequest) -> AsyncGenerator[Message | Progress]:
        with (Path(os.environ["CHATLLM_STATE"]) / FILE).open("a") as file:
            file.write(f"{model_request.request_id}\n")
        async for message in super().generate(model_request):
            yield message


def build_model(args: dict[str, Any]) -> Application:
    """Bind what the product binds, with the counting model in the model's place."""
    with patch.object(product, "deployment_class", lambda _: Counted):
        return product.build_model(args)


def begun(state: Path) -> list[str]:
    """Return the ids of the requests that were begun, in their order."""
    path = state / FILE
    return path.read_text().split() if path.exists() else []
