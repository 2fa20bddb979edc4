"""Calls through Serve's handles: messages of any size, and the errors by which a call can fail.

With gRPC between replicas a message may have 4 MiB (`RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH`, which
every node's environment would have to raise). So a larger one goes by reference: Ray's object store
carries it, for some milliseconds more, and it needs no setting.
"""

from typing import Any

import grpc
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

MAX_INLINE_BYTES = 2 * 1024 * 1024
"""Well below gRPC's 4 MiB, which include what is around the payload."""

CALL_ERRORS = (RayError, RayServeException, grpc.RpcError)
"""What a call raises that did not succeed: Ray's own errors, Serve's, and what gRPC did not let through."""


def carrying(handle: DeploymentHandle[Any], payload_bytes: int) -> DeploymentHandle[Any]:
    """Return the handle by which a call with so large a payload arrives."""
    return handle if payload_bytes <= MAX_INLINE_BYTES else handle.options(_by_reference=True)
