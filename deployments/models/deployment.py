"""The Serve deployment's class for each kind of model: a replica that loads when it is made."""

from deployments.config import AnyModel, ProviderModel, ScriptedModel, VLLMModel
from deployments.heap import freeze_heap
from deployments.logs import configure_logging
from deployments.models.delivery import Delivery
from deployments.models.load_watch import watched
from deployments.models.protocol import Generation
from deployments.models.provider.replica import ProviderReplica
from deployments.models.scripted import ScriptedReplica
from deployments.models.vllm import VLLMReplica
from deployments.models.wire import Destination


class VLLM(VLLMReplica):
    """A vLLM replica, ready once it has been constructed."""

    async def __init__(self, model: VLLMModel, log_level: str) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        configure_logging(log_level)
        super().__init__(model)
        self._delivery = Delivery()
        with watched(model):
            await self.start()
        freeze_heap()

    async def deliver(self, generation: Generation, to: Destination) -> None:
        """Generate, and send the messages to the ingress replica that asked; cancelling aborts the engine's request."""
        await self._delivery.deliver(self.generate(generation), to)


class Scripted(ScriptedReplica):
    """A scripted replica, ready once it has been constructed."""

    async def __init__(self, model: ScriptedModel, log_level: str) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        configure_logging(log_level)
        super().__init__(model)
        self._delivery = Delivery()
        with watched(model):
            await self.start()
        freeze_heap()

    async def deliver(self, generation: Generation, to: Destination) -> None:
        """Generate, and send the messages to the ingress replica that asked; cancelling ends it at once."""
        await self._delivery.deliver(self.generate(generation), to)


class Provider(ProviderReplica):
    """A replica that asks a provider, ready once it has been constructed."""

    async def __init__(self, model: ProviderModel, log_level: str) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        configure_logging(log_level)
        super().__init__(model)
        self._delivery = Delivery()
        with watched(model):
            await self.start()
        freeze_heap()

    async def deliver(self, generation: Generation, to: Destination) -> None:
        """Generate, and send the messages to the ingress replica that asked; cancelling closes the HTTP request."""
        await self._delivery.deliver(self.generate(generation), to)


def deployment_class(model: AnyModel) -> type[VLLM] | type[Scripted] | type[Provider]:
    """Return the class that serves a model of this kind."""
    match model:
        case VLLMModel():
            return VLLM
        case ProviderModel():
            return Provider
        case ScriptedModel():
            return Scripted
