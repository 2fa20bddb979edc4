"""The models of the service file: the `args:` of their applications, or `models:` under the `args:` of the only one."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, field_validator, model_validator

from deployments.config.section import PositiveSeconds, Section

ADAPTER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ModelCacheSettings(Section):
    """How the answers of one model are cached, where that differs from the rest."""

    requests: Literal["deterministic", "all", "off"] = Field(
        default="deterministic",
        description="Which requests are cached unasked: those with temperature 0 or a seed, all, or none.",
    )
    ttl_s: PositiveSeconds | None = Field(
        default=None, description="Seconds until a stored answer of this model expires, in place of `cache.ttl_s`."
    )
    max_entry_bytes: int | None = Field(
        default=None, ge=1024, description="Bytes above which its answers are not stored, in place of the cache's own."
    )
    shared_prefixes: bool | None = Field(
        default=None,
        description="Let all keys share vLLM's prefix cache, e.g. for one long system prompt; else each has its own. "
        "Not set: as `cache.shared`. Where it is shared, the time to the first token tells what others have asked.",
    )


class QueueSettings(Section):
    """How requests wait while a model's engines are full: keys share what there is, and nobody waits for ever."""

    max_waiting: int = Field(
        default=1024, ge=1, description="Requests that wait at once in one ingress replica; another one is a 503."
    )
    max_waiting_per_key: int = Field(
        default=256, ge=1, description="How many of these may be of one key; another one is a 429."
    )
    max_wait_s: PositiveSeconds = Field(default=120.0, description="Seconds that a request waits at most.")


COUNTS = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "max_num_seqs",
        "max_num_batched_tokens",
        "kv_cache_memory_bytes",
    }
)
"""Engine arguments that are whole numbers above 0."""
VLLM_MAX_NUM_SEQS = 128
"""The least of vLLM's own defaults of `max_num_seqs`: that of an API server on a CPU."""


class ModelPolicy(Section):
    """What the ingress alone reads of a model: changed in place, without a restart of its replicas."""

    max_prompt_messages: int = Field(
        default=512, ge=2, description="Messages of a stored conversation that are considered as context, newest first."
    )
    allowed_media_domains: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")], ...] = Field(
        default=(),
        description="Hosts from which images, audio and video in messages are fetched, e.g. `images.example.org`; "
        "none: a message has to hold them (`data:` URLs). Only public addresses over http(s), at most 16 MiB and 10 s.",
    )
    fallback: tuple[str, ...] = Field(
        default=(),
        description="Models of this file that answer in its place, the first that can, while it is loading, has failed "
        "or refuses for capacity; `x-chatllm-model` says who answered.",
    )
    writes_titles: bool = Field(
        default=True,
        description="Let the chat page ask it for titles of conversations. Else the question's first sentence is the "
        "title, as it should be where a small model writes worse ones.",
    )
    hold_s: float = Field(
        default=300.0,
        ge=0,
        description="Seconds that a request waits at most while the model has no replica (it sleeps at zero, loads or "
        "restarts); 0 refuses it at once. `x-chatllm-wait` of a request shortens it.",
    )
    max_held_requests: int = Field(
        default=256, ge=0, description="Requests that wait so at once in one ingress replica; another one is a 503."
    )
    cache: ModelCacheSettings = ModelCacheSettings()
    queue: QueueSettings = QueueSettings()


class ModelBase(ModelPolicy):
    """What every kind of model has."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", description="Name in the API's `model` field.")

    @property
    def max_sequences(self) -> int:
        """How many sequences one replica runs at once."""
        raise NotImplementedError

    @property
    def queued_above(self) -> int | None:
        """How many sequences one replica is given at once, as long as it has not said; None for any number."""
        return self.max_sequences

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """What the model answers with, as far as its settings tell before it has loaded."""
        return ("text",)

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Names in the API of the model's adapters."""
        return ()

    @property
    def deployment(self) -> str:
        """Name of the Serve deployment, as `deployments:` of serve_config.yaml refers to it."""
        return f"model-{self.id.replace('/', '--')}"


class LoRAModule(Section):
    """A LoRA adapter of a model, which the API offers as a model of its own."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Its name; the API calls it `<id of the model>:<name>`.",
    )
    path: str = Field(min_length=1, description="Folder that peft saved, or the Hugging Face id of a downloaded one.")


class AdapterLoading(Section):
    """Which LoRA adapters an administrator may load into a model while it serves."""

    folders: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Folders below which adapters may lie, the same on every node; none outside is read."
    )
    hub: bool = Field(
        default=False,
        description="Allow Hugging Face ids; what is not on the node yet is downloaded, unless HF_HUB_OFFLINE is set.",
    )
    max_adapters: int = Field(default=4, ge=1, le=256, description="Adapters that may be loaded at once.")
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=16, description="The highest rank; room for it is taken in every layer."
    )
    max_bytes: int = Field(default=256 << 20, ge=1024, description="Bytes that an adapter's files may have.")


class VLLMModel(ModelBase):
    """A model that vLLM runs inside the replica."""

    kind: Literal["vllm"] = "vllm"
    engine: dict[str, Any] = Field(description="Any field of vLLM's AsyncEngineArgs; `model` is required.")
    chat: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of vLLM's chat handler: chat_template, tool_parser, enable_auto_tools, …",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Environment of the engine, e.g. VLLM_CPU_KVCACHE_SPACE (GiB)."
    )
    max_audio_s: PositiveSeconds = Field(
        default=1500.0,
        le=36_000,
        description="Seconds of sound that a recording may hold which is to be transcribed (25 minutes at OpenAI).",
    )
    lora_modules: tuple[LoRAModule, ...] = Field(
        default=(),
        description="LoRA adapters, each with `name` and `path` (a folder that peft saved, or a Hugging Face id that "
        "is downloaded); each is a model of the API, `<id>:<name>`.",
    )
    adapter_loading: AdapterLoading | None = Field(
        default=None,
        description="Let an administrator load and unload LoRA adapters while the service runs; not set: none.",
    )
    grammar_cpu_s: PositiveSeconds = Field(
        default=10.0,
        description="Seconds of CPU time that compiling one grammar (structured outputs, tools) may take; "
        "else it is a 400.",
    )

    @property
    def max_sequences(self) -> int:
        """What is set as `max_num_seqs`, or the least that vLLM may choose."""
        return int(self.engine.get("max_num_seqs") or VLLM_MAX_NUM_SEQS)

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Embeddings alone where the engine pools."""
        return ("embeddings",) if self.engine.get("runner") == "pooling" else ("text",)

    @property
    def adapters(self) -> dict[str, LoRAModule]:
        """The adapters by their names in the API."""
        return {f"{self.id}:{module.name}": module for module in self.lora_modules}

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Those of its LoRA adapters."""
        return tuple(self.adapters)

    @field_validator("engine")
    @classmethod
    def _can_be(cls, engine: dict[str, Any]) -> dict[str, Any]:
        """Refuse numbers that no engine takes; vLLM checks the rest when it loads."""
        for name in COUNTS & engine.keys():
            if isinstance(engine[name], int) and engine[name] < 1:
                raise ValueError(f"{name} must be at least 1, and is {engine[name]}")
        share = engine.get("gpu_memory_utilization")
        if isinstance(share, int | float) and not 0 < share <= 1:
            raise ValueError(f"gpu_memory_utilization is a share above 0 and up to 1, and is {share}")
        return engine

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if not self.engine.get("model"):
            raise ValueError(f"model {self.id!r}: engine.model is missing (a Hugging Face id or a path)")
        if len(self.adapters) != len(self.lora_modules):
            raise ValueError(f"model {self.id!r}: names under lora_modules must be unique")
        return self


class ScriptedModel(ModelBase):
    """A programmed stand-in: tokens, delays and failures for tests and for measuring all but the model."""

    kind: Literal["scripted"]
    tokens: int = Field(default=32, ge=1, description="Tokens in an answer, unless the request asks for fewer.")
    prefill_ms: float = Field(default=0.0, ge=0, description="Milliseconds before the first token.")
    token_ms: float = Field(default=0.0, ge=0, description="Milliseconds between tokens.")
    slots: int | None = Field(
        default=None,
        ge=1,
        description="Answers generated at once, like an engine's `max_num_seqs`; others wait. Not set: no bound.",
    )
    in_step: bool = Field(
        default=False, description="Let all answers have their next token at the same moment, as an engine's steps do."
    )
    load_s: float = Field(default=0.0, ge=0, description="Seconds that a replica takes to start.")
    fails_to_load: bool = Field(default=False, description="Fail to start.")
    fail_after: int | None = Field(default=None, ge=0, description="Fail once this many tokens are out.")
    context_tokens: int = Field(default=2048, ge=1, description="Words that fit into a prompt.")
    embedding_dimensions: int | None = Field(
        default=None, ge=1, le=4096, description="Numbers in an embedding; without it the model makes none."
    )
    transcript: str | None = Field(
        default=None,
        max_length=65_536,
        description="What it hears in every recording; without it the model does not transcribe.",
    )
    input_modalities: tuple[Literal["text", "image"], ...] = Field(
        default=("text",), description="What a message may hold."
    )
    adapters: tuple[Annotated[str, Field(pattern=ADAPTER_NAME)], ...] = Field(
        default=(), description="Names of adapters that it answers for, as `<id>:<name>`."
    )
    adapter_loading: AdapterLoading | None = Field(
        default=None, description="Let it answer for adapters that are loaded while the service runs."
    )

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Those that it answers for."""
        return tuple(f"{self.id}:{name}" for name in self.adapters)

    @property
    def max_sequences(self) -> int:
        """Its `slots`, or as many as vLLM runs on most GPUs."""
        return self.slots or 2 * VLLM_MAX_NUM_SEQS

    @property
    def queued_above(self) -> int | None:
        """Its `slots`."""
        return self.slots

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Text, and embeddings and transcripts if it makes any."""
        embeddings = ("embeddings",) if self.embedding_dimensions else ()
        return ("text", *embeddings, *(("transcripts",) if self.transcript is not None else ()))


class ProviderModel(ModelBase):
    """A model that another service runs, reached through LangChain's `init_chat_model`."""

    kind: Literal["provider"]
    model: str = Field(
        pattern=r"^[a-z0-9_]{1,64}:\S{1,256}$",
        description="LangChain's name of provider and model, e.g. `openai:gpt-5-mini`, `anthropic:claude-sonnet-4-5`, "
        "`google_genai:gemini-2.5-flash`, `ollama:llama3.2`.",
    )
    base_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$",
        description="Address of the provider's API if it is not its public one: with `openai:…`, that of any "
        "OpenAI-compatible server.",
    )
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        description="Variable of the Ray cluster's environment that holds the key, e.g. `OPENAI_API_KEY`. Not set: "
        "the provider's own variable, and no key at all for a `base_url`.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Further arguments of LangChain's class, e.g. `temperature`, `max_tokens`."
    )
    body_parameters: tuple[str, ...] = Field(
        default=(),
        description="Parameters of requests beyond LangChain's that the server at an `openai:…` address takes, e.g. "
        "`[top_k, min_p]` for vLLM; else they are a 400.",
    )
    timeout_s: PositiveSeconds = Field(
        default=120.0, description="Seconds that the provider may be silent: until it connects, and between two pieces."
    )
    context_tokens: int | None = Field(
        default=None, ge=1, description="Size of the model's context window, as `/v1/models` tells it."
    )
    input_modalities: tuple[Literal["text", "image", "audio", "video"], ...] = Field(
        default=("text",), description="What a message may hold."
    )

    @property
    def provider(self) -> str:
        """LangChain's name of the provider."""
        return self.model.partition(":")[0]

    @property
    def max_sequences(self) -> int:
        """As many as vLLM runs on most GPUs; a provider tells no bound."""
        return 2 * VLLM_MAX_NUM_SEQS

    @property
    def queued_above(self) -> int | None:
        """No bound but what Serve gives a replica at once."""
        return None

    @field_validator("parameters")
    @classmethod
    def _holds_no_secret(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        for name in _names_in(parameters):
            if SECRET_NAME.search(name):
                raise ValueError(f"{name!r} must not stand in a file: name its variable in `api_key_env`")
        for name in sorted(parameters.keys() & OWN_PARAMETERS):
            raise ValueError(f"{name!r} is not one of `parameters`")
        return parameters


SECRET_NAME = re.compile(
    r"(?i)(api[-_]?key|secret|passw(or)?d|credential|authorization|(access|auth|bearer)[-_]?token)"
)
OWN_PARAMETERS = frozenset(
    {"model", "model_provider", "base_url", "configurable_fields", "config_prefix", "callbacks", "cache", "n"}
)
"""Arguments of `init_chat_model` that have a setting of their own, or would break the service."""


def _names_in(value: Any) -> Iterator[str]:
    """Yield the names in nested mappings."""
    if isinstance(value, Mapping):
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield str(name)  # pyright: ignore[reportUnknownArgumentType]
            yield from _names_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _names_in(inner)


class BrokenModel(ModelBase):
    """A model whose `args:` are wrong: it is shown, and cannot be served."""

    @property
    def max_sequences(self) -> int:
        """As many as vLLM runs on most GPUs, so that it lowers nobody's limits."""
        return 2 * VLLM_MAX_NUM_SEQS


AnyModel = Annotated[VLLMModel | ScriptedModel | ProviderModel, Field(discriminator="kind")]


_ANY_MODEL: TypeAdapter[AnyModel] = TypeAdapter(AnyModel)


def model_of(arguments: object) -> AnyModel:
    """Return the model that the `args:` of an application of its own describe; ValidationError says what is wrong."""
    return _ANY_MODEL.validate_python(arguments)
