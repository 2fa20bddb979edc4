"""The ingress's side of the model deployments: the only place that holds their handles.

Translates Ray's errors, keeps the deadlines and knows which model can answer.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from deployments.config import AnyModel, Timeouts
from deployments.errors import ChatLLMError, ModelLoading, Overloaded, Timeout, Unavailable
from deployments.models.deploying import FailedDeployments
from deployments.models.names import ModelNames
from deployments.models.protocol import Generation, Message
from deployments.models.router import presence

APPLICATION = "chatllm"
RETRY_AFTER_S = 5.0
RUNNING_TIMEOUT_S = 2.0
FAILED_TO_LOAD = "The model failed to load; its operator finds the reason in the replica's log and in Ray's dashboard."


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the configuration, its deployment and what tells its answers from any other's."""

    settings: AnyModel
    identity: str
    handle: DeploymentHandle[Any]


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether a model can answer: `status` is "ready", "loading" or "failed", for `elapsed_s` seconds."""

    id: str
    status: str
    elapsed_s: float
    replicas: int


class ModelClient:
    """Generates on the replicas of the configured models."""

    def __init__(self, models: Mapping[str, ServedModel], names: ModelNames, timeouts: Timeouts) -> None:
        self.names = names
        self._models = models
        self._failed = FailedDeployments(APPLICATION)
        # Taking options starts the handle's router, so that replicas are known before the first request.
        self._streams = {name: model.handle.options(stream=True) for name, model in models.items()}
        self._timeouts = timeouts

    def resolve(self, name: str | None) -> str:
        """Return the id of the model that a request names, the default one for None; raises ModelNotFound."""
        return self.names.resolve(name)

    def identity(self, model: str) -> str:
        """Return what tells this model's answers from any other's."""
        return self._models[model].identity

    def max_prompt_messages(self, model: str) -> int:
        """Return how many messages of a conversation are considered as context."""
        return self._models[model].settings.max_prompt_messages

    async def states(self) -> list[ModelState]:
        """Return the state of every model, the default one first."""
        ordered = sorted(self._models.values(), key=lambda m: m.settings.id != self.names.default)
        return [await self._state(model) for model in ordered]

    async def _state(self, model: ServedModel) -> ModelState:
        settings, seen = model.settings, presence(model.settings.deployment)
        replicas = seen.replicas
        if replicas is None:
            replicas = int(self._streams[settings.id].running_replicas_populated())
        status = "ready"
        if not replicas:
            status = "failed" if settings.deployment in await self._failed.names() else "loading"
        return ModelState(settings.id, status, time.monotonic() - seen.since, replicas)

    async def running(self, model: str) -> int:
        """Return how many requests the engines of all replicas hold, as they themselves count; asks every replica."""
        if (await self._state(self._models[model])).replicas == 0:
            return 0
        try:
            async with asyncio.timeout(RUNNING_TIMEOUT_S):
                return sum(await self._streams[model].broadcast("running").results_async())
        except TimeoutError:
            raise Timeout("The model's replicas did not answer in time.", None, 1.0) from None
        except (RayError, RayServeException) as error:
            raise translated(error) from None

    async def generate(self, model: str, generation: Generation) -> AsyncGenerator[Message]:
        """Yield the messages of a replica. Closing the generator cancels the request there, and so at the engine.

        Raises ModelLoading while no replica is running, Overloaded when the queue
        is full, Timeout past a deadline, Unavailable when the replica is lost.
        """
        state = await self._state(self._models[model])
        if state.status == "failed":
            raise Unavailable(FAILED_TO_LOAD, None, 30.0)
        if state.status == "loading":
            raise ModelLoading(
                f"The model {model!r} is still loading ({state.elapsed_s:.0f} s so far).", None, RETRY_AFTER_S
            )
        stream = self._streams[model].generate.remote(generation)
        ended = False
        try:
            deadline = asyncio.get_running_loop().time() + self._timeouts.total_s
            wait_s = self._timeouts.first_token_s
            while True:
                message = await self._next(stream, min(wait_s, deadline - asyncio.get_running_loop().time()))
                if message is None:
                    ended = True
                    return
                yield message
                wait_s = self._timeouts.idle_s
        finally:
            if not ended:
                with suppress(Exception):
                    stream.cancel()

    async def _next(self, stream: Any, timeout_s: float) -> Message | None:
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                return await anext(stream)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise Timeout("The model did not answer in time.", None, RETRY_AFTER_S) from None
        except (RayError, RayServeException) as error:
            raise translated(error) from None


def translated(error: Exception) -> ChatLLMError:
    """Turn an error of Ray's into one of ours; its text, which can hold a remote traceback, stays behind."""
    match error:
        case BackPressureError():
            return Overloaded("", None, error.retry_after_s or 1.0)
        case DeploymentUnavailableError():
            return Unavailable(
                "The model failed to load; the operator finds the reason in Ray's dashboard.", None, 30.0
            )
        case ReplicaUnavailableError() | RayActorError():
            return Unavailable("The model's replica was lost; please try again.", None, 1.0)
        case RequestCancelledError():
            return Unavailable("The request was cancelled by the server.", None, 1.0)
        case RayTaskError():
            return ChatLLMError("The model's replica failed.")
        case _:
            return Unavailable("", None, RETRY_AFTER_S)
