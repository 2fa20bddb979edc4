"""Letting the answers of the service end before Ray does: the part of the Ray process."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from deployments.infra.ray import key_value
from deployments.infra.ray.key_value import STOPS_AT

log = logging.getLogger(__name__)

LOOK_S = 0.25
CALL_S = 5.0
LEAVE_S = 15.0
LATE_S = 1.5
"""How much later than others a replica may end that Serve stops already."""


def drain(application: str, until: float, tell: Callable[[int], None]) -> None:
    """Have every ingress replica refuse what is new, and return once no answer runs or `until` has passed.

    `until` is in seconds since the epoch; `tell` is called with how many answers run, again and again. What then still
    runs has ended with an error, and all that is to be kept is written. Errors are logged: the service stops anyway.
    """
    try:
        asyncio.run(_drain(application, until, tell))
    except Exception as error:  # noqa: BLE001 - the boundary to Ray: whatever fails, the service is to stop
        log.warning("answers were not waited for", extra={"reason": _described(error)})


async def _drain(application: str, until: float, tell: Callable[[int], None]) -> None:
    from ray import serve
    from ray.serve.exceptions import DeploymentUnavailableError

    key_value.put(STOPS_AT, str(until).encode())  # for replicas that Serve stops already: no handle knows them
    # Within an event loop: as Serve is configured here, a handle runs in that of its caller.
    handle = serve.get_deployment_handle("Ingress", application)
    running = 1
    while running and time.time() < until:
        try:
            running = sum(await _asked(handle, "drain", CALL_S)) or await asyncio.to_thread(_stopping, application)
        except DeploymentUnavailableError:
            return  # it has no replica
        except Exception as error:  # noqa: BLE001 - the boundary to Ray: a replica that is replaced fails in many ways
            log.warning("the API's replicas were not asked what runs", extra={"reason": _described(error)})
        else:
            tell(running)
        await asyncio.sleep(LOOK_S if running else 0)
    await _asked(handle, "leave", LEAVE_S)
    if running:
        await asyncio.sleep(LATE_S)


async def _asked(handle: Any, method: str, timeout_s: float) -> list[Any]:
    async with asyncio.timeout(timeout_s):
        return await handle.broadcast(method).results_async()


def _stopping(application: str) -> int:
    """Return how many replaced replicas of the ingress still finish answers."""
    from ray import serve

    deployment = serve.status().applications[application].deployments["Ingress"]
    # Ray declares the states as an enumeration, and gives strings.
    return sum(count for state, count in deployment.replica_states.items() if str(state).endswith("STOPPING"))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
