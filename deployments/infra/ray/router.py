"""Serve's request routers, and the replicas that they choose from.

`ray.serve.request_router` is public. Serve's default router, which chooses the less busy of two replicas, is not
part of it; ours extends it rather than repeat it. Nor is the channel by which a router reaches a replica.
"""

from typing import Any

from ray._private.grpc_utils import init_grpc_channel
from ray.serve._private.constants import RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.generated.serve_pb2_grpc import ASGIServiceStub
from ray.serve.request_router import PendingRequest, RunningReplica

__all__ = ["PendingRequest", "PowerOfTwoChoicesRequestRouter", "ReachableReplica", "RunningReplica"]

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH),
    # Also for how long the kernel may wait for the receipt of what was sent (TCP_USER_TIMEOUT).
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class ReachableReplica(RunningReplica):
    """A replica whose calls fail within seconds once its node is cut off; with Ray's channel, after two minutes.

    Ray's own setting for that (`RAY_grpc_client_keepalive_timeout_ms`) is for every call in the cluster: with it, the
    nodes would give each other up as quickly.
    """

    @property
    def stub(self) -> Any:
        if self._channel is None:
            address = f"{self._replica_info.node_ip}:{self._replica_info.port}"
            self._channel = init_grpc_channel(address, options=CHANNEL_OPTIONS, asynchronous=True)
            self._stub = ASGIServiceStub(self._channel)
        return self._stub
