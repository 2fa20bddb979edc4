"""Serve's request routers.

`ray.serve.request_router` is public. Serve's default router, which chooses the less busy of two replicas, is not
part of it; ours extends it rather than repeat it.
"""

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, RunningReplica

__all__ = ["PendingRequest", "PowerOfTwoChoicesRequestRouter", "RunningReplica"]
