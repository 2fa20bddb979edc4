"""Starting vLLM: the engine, its handlers and what a replica asks of them. Imports vllm."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

import orjson
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.envs import enable_envs_cache
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer

from deployments.config import VLLMModel
from deployments.models.adapters import adapter_folder, engine_options
from deployments.models.protocol import Endpoint, Traits
from deployments.models.trim import trimmed
from deployments.models.vllm.adapters import HeldAdapters, ServedNames
from deployments.models.vllm.chat_renderer import ChatRenderer, render_beside_the_loop
from deployments.models.vllm.engine_client import BoundedLLM
from deployments.models.vllm.engine_life import is_canary, watch_engine
from deployments.models.vllm.engine_load import EngineLoad, EngineSteps
from deployments.models.vllm.engine_metrics import EngineMetrics
from deployments.models.vllm.engine_watch import EngineWatch
from deployments.models.vllm.handlers import Handler, check_options, known, open_handlers
from deployments.models.vllm.long_texts import LongTexts
from deployments.models.vllm.media_fetch import NOWHERE
from deployments.models.vllm.usage import RunningUsage

MADE: tuple[tuple[Endpoint, str], ...] = (
    ("chat", "text"),
    ("embedding", "embeddings"),
    ("classification", "labels"),
    ("score", "scores"),
    ("transcription", "transcripts"),
)
"""What a model answers with, by the endpoints that it has a handler for."""

MEDIA = {"media_io_kwargs": {"audio": {"audio_backend": "soundfile"}}}
"""How sound in messages is read. FFmpeg, which vLLM would take if nothing else can, follows what playlists name."""

SPARE_TOKENS = 64
"""What a cut text holds beyond a window: its last token may be another one than in the whole."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the engine is, as its output processor sees it."""

    client: BoundedLLM

    @property
    def unfinished(self) -> int:
        """Requests that have not ended: generated now, or waiting for it."""
        return sum(not is_canary(request) for request in self._requests())

    @property
    def without_token(self) -> int:
        """Requests that wait for the engine, or whose prompt it reads."""
        return sum(request.is_prefilling and not is_canary(request) for request in self._requests())

    def _requests(self) -> Iterable[Any]:
        return self.client.output_processor.request_states.values()


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine and the handlers in front of it."""

    client: BoundedLLM
    handlers: Mapping[Endpoint, Handler]
    load: Load
    usage: RunningUsage
    error_response: Callable[[Exception], Any]
    counting: LongTexts
    long_texts: LongTexts
    adapters: HeldAdapters
    reported: EngineLoad
    watch: EngineWatch

    @property
    def longest_prompt(self) -> int:
        """How many characters the tokens of a whole window have at most, and some more."""
        tokenizer = self.client.renderer.get_tokenizer()
        return (self.client.model_config.max_model_len + SPARE_TOKENS) * tokenizer.max_chars_per_token

    @property
    def truncation_side(self) -> str:
        """Where the tokenizer cuts a prompt that is too long."""
        return self.client.renderer.get_tokenizer().truncation_side

    @property
    def vocabulary(self) -> int:
        """How many token ids there are, those of the tokenizer and of the model."""
        tokenizer = self.client.renderer.get_tokenizer()
        return max(tokenizer.max_token_id + 1, self.client.model_config.get_vocab_size())

    @property
    def traits(self) -> Traits:
        """What the model takes, makes and can read at once."""
        output = tuple(modality for endpoint, modality in MADE if endpoint in self.handlers)
        return Traits(self._input_modalities, output, self.client.model_config.max_model_len)

    @property
    def _input_modalities(self) -> tuple[str, ...]:
        """What a message may hold, first of all text; `limit_mm_per_prompt` can forbid the rest."""
        processor = self.client.renderer.mm_processor
        limits = processor.info.allowed_mm_limits if processor is not None else {}
        return ("text", *(modality for modality, limit in limits.items() if limit > 0))

    def trim(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the request's messages without the oldest that do not fit the window beside tools and answer."""
        window = self.client.model_config.max_model_len
        answer_tokens = body.get("max_completion_tokens") or body.get("max_tokens") or window // 4
        tokenizer = self.counting.tokenizer

        longest = (window + SPARE_TOKENS) * tokenizer.max_chars_per_token

        def count_tokens(text: str) -> int:
            return len(tokenizer.encode(text)) if len(text) <= longest else window + SPARE_TOKENS

        tools = count_tokens(orjson.dumps(body["tools"]).decode()) if body.get("tools") else 0
        return trimmed(body["messages"], max(1, window - answer_tokens - tools), count_tokens)


def engine_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with each group that vLLM has a class for (structured_outputs_config, …) made one."""
    groups = {
        field.name: type(field.default_factory())
        for field in fields(AsyncEngineArgs)
        if field.default_factory is not MISSING
    }
    return {
        name: groups[name](**value) if isinstance(value, dict) and is_dataclass(groups.get(name)) else value
        for name, value in settings.items()
    }


def computing_threads() -> int:
    """Return how many threads compute on a CPU: all cores but one, which is for the scheduler and what is in front.

    As vLLM's own executor of several processes has it; Ray sets the number to the replica's `num_cpus`.
    """
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _platform_options(model: VLLMModel) -> dict[str, Any]:
    """Return the engine arguments for this machine, and set the number of threads in this process's environment."""
    if not current_platform.is_cpu():
        return {}
    from deployments.models.vllm.cpu import WORKER  # also tells vLLM of `quantization: int8_cpu`

    if "OMP_NUM_THREADS" not in model.environment:
        os.environ["OMP_NUM_THREADS"] = str(computing_threads())
    return {"worker_cls": WORKER}


async def open_engine(model: VLLMModel, lost: Callable[[str], None]) -> Engine:
    """Load the model that `model.engine` names and return it ready to generate; raises ValueError for its options.

    `lost` is called once, with the reason, when the engine dies or is frozen.
    """
    check_options(model.chat)
    folders = {name: adapter_folder(module) for name, module in model.adapters.items()}
    settings = {
        "served_model_name": model.id,
        **_platform_options(model),
        **MEDIA,
        **engine_options(model, list(folders.values())),
        **model.engine,
    }
    client = _client(settings, model.grammar_cpu_s)
    models = ServedNames(
        client,
        [BaseModelPath(name=model.id, model_path=model.engine["model"])],
        lora_modules=[LoRAModulePath(name, str(folder), model.id) for name, folder in folders.items()],
    )
    await models.init_static_loras()
    options: dict[str, Any] = {"chat_template_content_format": "auto", **model.chat}
    options["chat_template"] = load_chat_template(options.get("chat_template"))
    render_beside_the_loop(client.renderer)
    renderer = ChatRenderer(
        client.model_config,
        client.renderer,
        request_logger=None,
        **known(options, OnlineRenderer),
    )
    tasks = await client.get_supported_tasks()
    if "generate" in tasks:
        renderer.warmup()
    handlers = open_handlers(client, models, renderer, options, tasks, model.max_audio_s)
    enable_envs_cache()  # vLLM asks its environment for each token; its own server could do this and does not
    texts = [LongTexts(client.renderer.get_tokenizer(), client.model_config.max_model_len) for _ in range(2)]
    usage = RunningUsage(client.output_processor.request_states)
    adapters = HeldAdapters(model, client, models)
    reported = EngineLoad(_steps(client), client.output_processor.request_states, _max_running(client))
    return Engine(
        client,
        handlers,
        Load(client),
        usage,
        create_error_response,
        *texts,
        adapters=adapters,
        reported=reported,
        watch=watch_engine(client, tasks, lost),
    )


def _client(settings: Mapping[str, Any], grammar_cpu_s: float) -> BoundedLLM:
    """Start the engine and load the model."""
    client = BoundedLLM.from_engine_args(
        AsyncEngineArgs(**engine_arguments({**settings, "allowed_media_domains": [NOWHERE]})),
        stat_loggers=[EngineMetrics],
    )
    assert isinstance(client, BoundedLLM)
    client.bound_grammars(grammar_cpu_s)
    return client


def _max_running(client: BoundedLLM) -> int:
    """Return how many sequences the engines behind this client run at once."""
    parallel = client.vllm_config.parallel_config
    engines = parallel.data_parallel_size_local if parallel.local_engines_only else parallel.data_parallel_size
    return client.vllm_config.scheduler_config.max_num_seqs * max(1, engines)


def _steps(client: BoundedLLM) -> EngineSteps:
    """Return what counts the engine's steps; nothing does where its settings turn statistics off."""
    loggers = client.logger_manager.stat_loggers if client.logger_manager is not None else []
    return next((one.steps for one in loggers if isinstance(one, EngineMetrics)), EngineSteps())
