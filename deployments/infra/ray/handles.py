"""Calls through Serve's handles: messages of any size, and the errors by which a call can fail.

With gRPC between replicas a message may have 4 MiB (`RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH`, which
every node's environment would have to raise). So a larger one goes by reference: Ray's object store
carries it, for some milliseconds more, and it needs no setting.
"""

import asyncio
from typing import Any

import grpc
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentBroadcastResponse, DeploymentHandle

MAX_INLINE_BYTES = 2 * 1024 * 1024
"""Well below gRPC's 4 MiB, which include what is around the payload."""

CALL_ERRORS = (RayError, RayServeException, grpc.RpcError)
"""What a call raises that did not succeed: Ray's own errors, Serve's, and what gRPC did not let through."""


def carrying(handle: DeploymentHandle[Any], payload_bytes: int) -> DeploymentHandle[Any]:
    """Return the handle by which a call with so large a payload arrives."""
    return handle if payload_bytes <= MAX_INLINE_BYTES else handle.options(_by_reference=True)


async def answers_in_time(broadcast: DeploymentBroadcastResponse, timeout_s: float) -> tuple[list[Any], int]:
    """Return what replicas answer a broadcast with, and how many there were; raises what the broadcast itself raises.

    Serve's own `results_async` waits for all of them, so that one silent replica would cost every answer. It
    has no public way to each replica's.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with asyncio.timeout_at(deadline):
        results = await broadcast._fetch_replica_results_async()  # pyright: ignore[reportPrivateUsage]
    if not results:
        return [], 0
    calls = [asyncio.ensure_future(result.get_async()) for result in results]
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.wait(calls)
    except TimeoutError:
        pass
    finally:
        for one in calls:
            one.cancel()
    answered, _ = await asyncio.wait(calls)
    kept = [one.result() for one in calls if not one.cancelled() and one.exception() is None]
    return kept, len(answered)
