"""This replica's shares of models, renewed behind the requests; while the store is away, those that it had last."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from deployments.infra.breaker import Breaker, BreakerOpen
from deployments.infra.redis.errors import StoreError
from deployments.queueing.shares import CapacityStore, Share

logger = logging.getLogger(__name__)

RENEW_S = 1.0
SOON_S = 0.1
"""A share that is too small is asked about so much earlier."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a replica wants of a model's places, and has filled."""

    capacity: int
    wanted: int
    filled: int


class SharedCapacity:
    """The shares of one ingress replica, for one event loop. Until the store answers, all capacity is its own."""

    def __init__(self, store: CapacityStore, use: Callable[[], dict[str, Use]], changed: Callable[[], None]) -> None:
        """`use` returns what is wanted of each model now; `changed` is called when shares have grown."""
        self._store = store
        self._use = use
        self._changed = changed
        self._replica = secrets.token_hex(8)
        self._shares: dict[str, Share] = {}
        self._breaker = Breaker()
        self._is_away = False
        self._hurry = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to renew the shares, in the running event loop."""
        self._renewer = asyncio.create_task(self._renew_for_ever(), name="capacity-shares")

    async def aclose(self) -> None:
        """Return all shares, and close the store."""
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.wait((self._renewer,))
        with suppress(StoreError):
            for model in self._shares:
                await self._store.release(model, self._replica)
        with suppress(StoreError):
            await self._store.aclose()

    def of(self, model: str, capacity: int) -> int:
        """Return this replica's share of a model's capacity. Asks nobody."""
        share = self._shares.get(model)
        return capacity if share is None else min(capacity, share.of(capacity))

    def hurry(self) -> None:
        """Renew the shares soon, as requests wait."""
        self._hurry.set()

    async def renew(self) -> None:
        """Renew the share of each model that is used. Never raises."""
        grown = False
        for model, use in self._use().items():
            before = self.of(model, use.capacity)
            try:
                with self._breaker.attempt():
                    self._shares[model] = await self._store.renew(
                        model, self._replica, use.capacity, use.wanted, use.filled
                    )
            except BreakerOpen:
                return
            except StoreError as error:
                self._failed(error)
                return
            self._is_away = False
            grown = grown or self.of(model, use.capacity) > before
        if grown:
            self._changed()

    def _failed(self, error: StoreError) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("shares of models' capacity stay as they were", extra={"kind": error.kind})

    async def _renew_for_ever(self) -> None:
        while True:
            await self.renew()
            await asyncio.sleep(SOON_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S - SOON_S):
                    await self._hurry.wait()
            self._hurry.clear()
