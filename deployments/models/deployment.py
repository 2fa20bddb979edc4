"""The Serve deployment's class for each kind of model: a replica that loads when it is made."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deployments.config import AnyModel, ProviderModel, ScriptedModel, VLLMModel
from deployments.config.replica import configure_model
from deployments.errors import Unavailable
from deployments.infra.heap import freeze_heap
from deployments.infra.liveness.guarded import Guarded, end_this_process
from deployments.infra.logs import configure_logging
from deployments.infra.ray.stopping import when_stopping
from deployments.models.delivery.sender import Delivery
from deployments.models.delivery.wire import Destination
from deployments.models.identity import adapter_identity
from deployments.models.loading.watch import watched
from deployments.models.protocol import CANNOT_CONTINUE, ModelRequest
from deployments.models.provider.replica import ProviderReplica
from deployments.models.scaling.backlog import Backlog
from deployments.models.scripted.replica import ScriptedReplica
from deployments.models.shared_identity import shared_identities
from deployments.models.tracing import traced
from deployments.models.vllm.replica import VLLMReplica

logger = logging.getLogger(__name__)

HANDOVER_S = 5.0
"""How long before Serve kills a replica that was told to stop it hands over what it has not finished."""
LAST_S = 1.0
"""How long before that it fails what no other replica can go on with."""


class _Loaded:
    """What the classes of all kinds have: they are ready once constructed, and deliver what they generate."""

    may_move = True
    """Whether another replica may be asked for what this one has begun."""

    async def __init__(self, model: AnyModel, log_level: str) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        configure_logging(log_level)
        self._log_level = log_level
        self._model_id = model.id
        super().__init__(model)  # pyright: ignore[reportCallIssue] - the replica's
        self._delivery = Delivery()
        self._identities = _identities(model)
        self._backlog = Backlog()
        replica: Any = self
        with watched(model):
            await replica.start()
        when_stopping(self._leave)
        freeze_heap()
        self._guard = Guarded()

    async def reconfigure(self, user_config: object, rank: object = None) -> None:
        """Apply a changed `user_config`; Serve skips the call for an empty one unless there is a `rank`."""
        changes = configure_model(user_config, self._log_level)
        if changes is not None:
            self.target_ttft_s = changes.target_ttft_s

    async def note_backlog(self, sender: str, waiting: float) -> None:
        """Take note of how many requests wait for this replica in an ingress replica."""
        self._backlog.note(sender, waiting)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve's autoscaler how busy the replica is and what waits for it (a method that Serve knows by name)."""
        report = getattr(super(), "record_autoscaling_stats", None)  # a provider's replica has none
        figures: dict[str, float] = await report() if report is not None else {}
        return {**figures, "queued": self._backlog.waiting}

    async def deliver(self, model_request: ModelRequest, to: Destination) -> None:
        """Generate, and send the messages to the ingress replica that asked; cancelling ends the generation at once."""
        replica: Any = self
        may_be_kept = _is_of(model_request, self._identities)
        if model_request.resumed_tokens and not may_be_kept:  # another version of the model had begun
            raise Unavailable(CANNOT_CONTINUE, None, 1.0)
        if model_request.tells_tokens and not may_be_kept:  # nor does the one that was asked for go on with this one's
            model_request = replace(model_request, wants_tokens=False)
        messages = traced(model_request, self._model_id, replica.generate(model_request))
        await self._delivery.deliver(messages, to, may_be_kept, self.may_move)

    def _leave(self, timeout_s: float) -> None:
        """Have other replicas go on with what is not finished shortly before `timeout_s`, when Serve kills this one."""
        logger.info("the replica stops: it finishes what it can", extra={"timeout_s": timeout_s})
        lead_s = min(HANDOVER_S, timeout_s / 2)
        loop = asyncio.get_running_loop()
        loop.call_later(timeout_s - lead_s, self._delivery.hand_over)
        loop.call_later(timeout_s - lead_s * LAST_S / HANDOVER_S, self._delivery.hand_over, True)


def _identities(model: AnyModel) -> Mapping[str, str]:
    """Return the identities of the model and its adapters; empty if they cannot be determined."""
    try:
        return shared_identities(model)
    except Exception as error:  # noqa: BLE001 - the boundary to Ray and to files: a model loads all the same
        logger.warning("the model's identity is unknown to its replica", extra={"reason": type(error).__name__})
        return {}


def _is_of(request: ModelRequest, identities: Mapping[str, str]) -> bool:
    """Whether what is asked for is what this replica serves, as far as either is known."""
    if not request.identity or not identities:
        return True
    if request.adapter is not None:
        return adapter_identity(identities[request.adapter.model], request.adapter) == request.identity
    return request.identity in identities.values()


class VLLM(_Loaded, VLLMReplica):
    """A vLLM replica, which lives no longer than its engine does."""

    def engine_lost(self, reason: str) -> None:
        """End the process: its streams go on elsewhere, as those of a killed replica, and Serve starts another one."""
        end_this_process(reason)


class Scripted(_Loaded, ScriptedReplica):
    """A scripted replica."""


class Provider(_Loaded, ProviderReplica):
    """A replica that asks a provider."""

    may_move = False


def deployment_class(model: AnyModel) -> type[VLLM] | type[Scripted] | type[Provider]:
    """Return the class that serves a model of this kind."""
    match model:
        case VLLMModel():
            return VLLM
        case ProviderModel():
            return Provider
        case ScriptedModel():
            return Scripted
