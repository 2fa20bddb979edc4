"""The signs of life of a vLLM engine, for engine_watch.py. Imports vllm."""

from collections.abc import Callable, Sequence
from typing import Any

from vllm.inputs import tokens_input
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from deployments.infra.liveness.processes import descendants
from deployments.models.vllm.engine_watch import CANARY, EngineWatch

PROMPT = [0]


class EngineLife:
    """What the watch looks at: an engine's processes, and whether one token comes of it."""

    def __init__(self, client: AsyncLLM, tasks: Sequence[str]) -> None:
        self._client = client
        self._decodes = "generate" in tasks and not client.model_config.is_encoder_decoder

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended, or what reads from it."""
        return self._client.errored

    @property
    def pids(self) -> Sequence[int]:
        """Its processes and their workers; none where workers are on other machines, as Ray's may be."""
        manager: Any = self._client.engine_core.resources.engine_manager  # type: ignore[attr-defined]
        if self._client.vllm_config.parallel_config.distributed_executor_backend == "ray":
            return ()
        pids = [process.pid for process in getattr(manager, "processes", ()) if process.pid]
        return [found for pid in pids for found in (pid, *descendants(pid))]

    @property
    def has_device(self) -> bool:
        """Whether it computes on a GPU or the like."""
        return self._client.vllm_config.device_config.device_type != "cpu"

    async def canary(self, name: str) -> None:
        """Have one token decoded; if the engine cannot simply decode one, have its loop answer."""
        if not self._decodes:
            await self._client.is_sleeping()
            return
        params = SamplingParams(max_tokens=1, temperature=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY)
        async for _ in self._client.generate(tokens_input(PROMPT), params, name):
            pass


def watch_engine(client: AsyncLLM, tasks: Sequence[str], lost: Callable[[str], None]) -> EngineWatch:
    """Return the watch of an engine, to be closed before the engine is; `lost` is called once, with the reason."""
    watch, core = EngineWatch(EngineLife(client, tasks), lost), client.engine_core
    outputs_of: Callable[[], Any] = core.get_output_async

    async def get_output_async() -> Any:
        outputs = await outputs_of()
        watch.hear()
        return outputs

    core.get_output_async = get_output_async  # type: ignore[method-assign]
    return watch


def is_canary(state: Any) -> bool:
    """Whether a request of vLLM's output processor is the watch's."""
    return str(state.external_req_id).startswith(CANARY)
