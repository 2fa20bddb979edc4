"""Telling a model's replicas what waits here in front of its engines, for them to report it to Serve's autoscaler."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.infra.detached import detached
from deployments.models.presence import presence

TIMEOUT_S = 2.0


class BacklogReports:
    """What this process tells the replicas, one report for each model at a time."""

    def __init__(self, deployments: Mapping[tuple[str, str], DeploymentHandle[Any]]) -> None:
        """`deployments` has the handle of each model's deployment by its place."""
        self._deployments = deployments
        self._sender = secrets.token_hex(8)
        self._telling: dict[tuple[str, str], asyncio.Task[None]] = {}

    def tell(self, place: tuple[str, str], waiting: int) -> None:
        """Tell each replica its part of what waits; returns at once. One that cannot be reached is not an error."""
        if (telling := self._telling.get(place)) is None or telling.done():
            each = waiting / max(1, presence(*place).replicas or 1)
            self._telling[place] = detached(self._tell(place, each), "backlog")

    async def _tell(self, place: tuple[str, str], each: float) -> None:
        with suppress(Exception):
            async with asyncio.timeout(TIMEOUT_S):
                await self._deployments[place].broadcast("note_backlog", self._sender, each).results_async()
