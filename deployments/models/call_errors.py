"""How calls to model replicas fail: Ray's, Serve's and gRPC's errors become ours."""

import logging

import grpc
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)

from deployments.errors import BodyTooLarge, ChatLLMError, ModelFailed, Overloaded, Unavailable
from deployments.infra.traces import trace

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
LOST = "The model's replica was lost; please try again."


def is_loss(error: Exception) -> bool:
    """Whether a call failed because its replica is gone, or gave up its work on being stopped."""
    if isinstance(error, grpc.RpcError):
        return _status(error) != grpc.StatusCode.RESOURCE_EXHAUSTED
    return isinstance(error, ReplicaUnavailableError | RayActorError | RequestCancelledError)


def translated(error: Exception) -> ChatLLMError:
    """Turn an error of a call into one of ours; its text, which can hold a remote traceback, stays behind."""
    match error:
        case BackPressureError():
            return Overloaded("", None, error.retry_after_s or 1.0)
        case DeploymentUnavailableError():
            return ModelFailed()
        case ReplicaUnavailableError() | RayActorError():
            return Unavailable(LOST, None, 1.0)
        case RequestCancelledError():
            return Unavailable("The request was cancelled by the server.", None, 1.0)
        case RayTaskError() if isinstance(cause := getattr(error, "cause", None), ChatLLMError):
            return cause
        case RayTaskError():
            return ChatLLMError("The model's replica failed.")
        case grpc.RpcError() if _status(error) == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return BodyTooLarge("The request is larger than what the model's replica accepts in one message.")
        case grpc.RpcError():
            logger.warning("a call to a model's replica failed: gRPC's status %s", _status(error))
            return Unavailable(LOST, None, 1.0)
        case RayError() | RayServeException():
            return Unavailable("", None, RETRY_AFTER_S)
        case _:
            logger.error("unexpected error of a call to a model's replica: %s", trace(error))
            return ChatLLMError()


def _status(error: grpc.RpcError) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
