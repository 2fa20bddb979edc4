"""Hearing at once that Serve stops this replica.

Serve takes the replica out of the routers, waits until no request runs in it, and kills it after
`graceful_shutdown_timeout_s` in any case. The replica's own code hears of that at the very end alone, when nothing
runs any more (`__del__`). What wants to leave in order must know from the beginning.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.serve._private.replica import Replica

_callbacks: list[Callable[[float], object]] = []
_perform: Callable[[Any], Any] = Replica._perform_graceful_shutdown  # pyright: ignore[reportPrivateUsage]


def when_stopping(notify: Callable[[float], object]) -> None:
    """Call `notify` in this event loop once Serve stops the replica, with the seconds until it is killed."""
    _callbacks.append(partial(asyncio.get_running_loop().call_soon_threadsafe, notify))
    Replica._perform_graceful_shutdown = _performed  # pyright: ignore[reportPrivateUsage]


async def _performed(self: Any) -> None:
    timeout_s = float(self._deployment_config.graceful_shutdown_timeout_s)
    for notify in _callbacks:
        notify(timeout_s)
    await _perform(self)
