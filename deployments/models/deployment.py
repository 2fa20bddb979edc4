"""The Serve deployment's class for each kind of model: a replica that loads when it is made."""

from deployments.config import AnyModel, ScriptedModel, VLLMModel
from deployments.models.scripted import ScriptedReplica
from deployments.models.vllm import VLLMReplica


class VLLM(VLLMReplica):
    """A vLLM replica, ready once it has been constructed."""

    async def __init__(self, model: VLLMModel) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        super().__init__(model)
        await self.start()


class Scripted(ScriptedReplica):
    """A scripted replica, ready once it has been constructed."""

    async def __init__(self, model: ScriptedModel) -> None:  # pyright: ignore[reportGeneralTypeIssues] - Serve awaits it
        super().__init__(model)
        await self.start()


def deployment_class(model: AnyModel) -> type[VLLM] | type[Scripted]:
    """Return the class that serves a model of this kind."""
    return VLLM if isinstance(model, VLLMModel) else Scripted
