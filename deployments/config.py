"""Typed settings, and the only reader of the environment.

`serve_config.yaml` carries two kinds of settings: what Ray Serve scales stands
under `deployments:`, what this code reads stands under `args:` and is validated
here as `Settings`. Addresses with passwords come from the environment
(`DATABASE_URL`, `REDIS_URL`) and never stand in a file that Ray's dashboard shows.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

PositiveSeconds = Annotated[float, Field(gt=0)]
Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,*]+)$")]
"""As browsers send it: a scheme, a host and its port unless it is the scheme's own, without a path."""


ADAPTER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Section(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


VLLM_MAX_NUM_SEQS = 128
"""The least of vLLM's own defaults of `max_num_seqs`: that of an API server on a CPU."""


class ModelBase(Section):
    """What every kind of model has."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", description="Name in the API's `model` field.")
    max_prompt_messages: int = Field(
        default=512, ge=2, description="Messages of a stored conversation that are considered as context, newest first."
    )
    allowed_media_domains: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")], ...] = Field(
        default=(),
        description="Hosts from which images, audio and video in messages are fetched, e.g. `images.example.org`; "
        "none: a message has to hold them.",
    )
    fallback: tuple[str, ...] = Field(
        default=(),
        description="Models of this file that answer in its place, the first that can, while it is loading, has failed "
        "or refuses for capacity; `x-chatllm-model` says who answered.",
    )
    cache: ModelCacheSettings = ModelCacheSettings()

    @property
    def max_sequences(self) -> int:
        """How many sequences one replica runs at once."""
        raise NotImplementedError

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
    lora_modules: tuple[LoRAModule, ...] = Field(
        default=(),
        description="LoRA adapters, each with `name` and `path` (a folder that peft saved, or a Hugging Face id that "
        "is downloaded); each is a model of the API, `<id>:<name>`.",
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
    input_modalities: tuple[Literal["text", "image"], ...] = Field(
        default=("text",), description="What a message may hold."
    )
    adapters: tuple[Annotated[str, Field(pattern=ADAPTER_NAME)], ...] = Field(
        default=(), description="Names of adapters that it answers for, as `<id>:<name>`."
    )

    @property
    def adapter_ids(self) -> tuple[str, ...]:
        """Those that it answers for."""
        return tuple(f"{self.id}:{name}" for name in self.adapters)

    @property
    def max_sequences(self) -> int:
        """As many as vLLM runs on most GPUs; a script has no bound of its own."""
        return 2 * VLLM_MAX_NUM_SEQS

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """Text, and embeddings if it makes any."""
        return ("text", "embeddings") if self.embedding_dimensions else ("text",)


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


AnyModel = Annotated[VLLMModel | ScriptedModel | ProviderModel, Field(discriminator="kind")]


SEMANTIC_CACHE = "deployments.cache.similar.semantic:cache"
"""The `cache.langchain` that comes with the service."""


class SemanticSettings(Section):
    """The semantic cache that comes with the service, for `cache.langchain`."""

    model: str = Field(default="", description="Model that makes the embeddings; required with this cache.")
    base_url: str = Field(
        default="http://127.0.0.1:8000/v1",
        pattern=r"^https?://[^/\s@]+(/[^\s@]*)?$",
        description="Address of an OpenAI-compatible API with that model: this service's own, or another's.",
    )
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        description="Variable of the Ray cluster's environment that holds the key for it.",
    )
    min_similarity: float = Field(
        default=0.95, gt=0, le=1, description="Cosine of two embeddings from which on their questions are the same."
    )
    max_entries: int = Field(default=10_000, ge=1, le=100_000, description="Answers kept for each tenant.")
    max_bytes: int = Field(
        default=67_108_864, ge=1_048_576, description="Bytes of all of them, in each replica of `CacheLookup`."
    )


class CacheSettings(Section):
    """The response cache."""

    enabled: bool = Field(default=True, description="Look up and store deterministic requests.")
    ttl_s: PositiveSeconds = Field(default=86_400.0, description="Seconds until a stored answer expires.")
    lookup_timeout_s: PositiveSeconds = Field(
        default=0.05, description="Seconds after which a look-up is a counted miss."
    )
    max_entry_bytes: int = Field(default=1_048_576, ge=1024, description="Bytes above which an answer is not stored.")
    namespace: str = Field(default="chatllm", description="Prefix of every key in Redis.")
    hot_bytes: int = Field(
        default=8_388_608, ge=0, description="Bytes of answers that an ingress replica keeps in memory."
    )
    hot_ttl_s: PositiveSeconds = Field(
        default=10.0, description="Seconds for which an answer is given from that memory before Redis is asked again."
    )
    replay_ms: float = Field(
        default=0.0, ge=0, description="Milliseconds between the events of a stream from the cache; 0 sends it at once."
    )
    langchain: str = Field(
        default="",
        pattern=r"^(\w+(\.\w+)*:\w+(\.\w+)*)?$",
        description="A LangChain cache to ask where nothing is stored, e.g. a semantic one, as "
        "`package.module:attribute`: an instance, or what makes one. Its answers may be wrong: see Operations.",
    )
    langchain_timeout_s: PositiveSeconds = Field(
        default=1.0, description="Seconds that a call of the LangChain cache may take."
    )
    semantic: SemanticSettings = SemanticSettings()
    shared: bool = Field(default=False, description="Let all keys share cached answers; else each has its own.")

    @model_validator(mode="after")
    def _semantic_cache_has_a_model(self) -> Self:
        if self.langchain == SEMANTIC_CACHE and not self.semantic.model:
            raise ValueError("cache.semantic.model is missing: the model that makes the embeddings")
        return self


class HistorySettings(Section):
    """The conversation store."""

    pool_size: int = Field(default=10, ge=1, description="Connections to Postgres of one ingress replica, at most.")
    timeout_s: PositiveSeconds = Field(
        default=5.0, description="Seconds that a query, or the wait for a connection, may take."
    )
    max_pending_writes: int = Field(default=10_000, ge=1, description="Writes kept in memory while Postgres is away.")
    max_context_bytes: int = Field(
        default=8_388_608,
        ge=1024,
        description="Bytes of stored messages read as context, newest first; as many as one request can bring.",
    )


class ResponseSettings(Section):
    """The responses that run in the background."""

    max_background: int = Field(
        default=256, ge=0, description="Responses that one ingress replica runs in the background at once."
    )
    max_background_per_key: int = Field(
        default=64, ge=1, description="How many of these may be of one key, so that the others find room."
    )
    stale_after_s: PositiveSeconds = Field(
        default=15.0, description="Seconds without a sign of life after which another replica takes a response over."
    )
    events_ttl_s: PositiveSeconds = Field(
        default=3600.0, description="Seconds for which the events of a background response can be streamed."
    )


class KeySettings(Section):
    """The checking of API keys."""

    cache_ttl_s: PositiveSeconds = Field(
        default=5.0, description="Seconds for which a checked key is trusted without a query."
    )
    outage_ttl_s: PositiveSeconds = Field(
        default=600.0, description="Seconds for which known keys stay valid while Postgres cannot be reached."
    )
    max_cached: int = Field(default=10_000, ge=1, description="Keys that one ingress replica remembers.")


class KeyLimitSettings(Section):
    """The holding of keys' limits."""

    timeout_s: PositiveSeconds = Field(
        default=0.05, description="Seconds after which Redis counts as away: limits then hold per replica."
    )
    concurrent_requests: int | None = Field(
        default=None,
        ge=0,
        description="Answers generated at once of a key without `concurrent_requests` of its own, 0 for no limit; if "
        "not given, half of what the smallest engine runs at once (`max_num_seqs`, or 128).",
    )
    other_requests_per_minute: int = Field(
        default=3_000,
        ge=1,
        description="Requests per minute of one key that generate nothing (account, models, conversations, usage, …), "
        "on each ingress replica.",
    )
    assumed_answer_tokens: int = Field(
        default=256, ge=0, description="Tokens that an answer without a bound of its own is estimated at."
    )
    storage_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of conversations, responses and stored completions that a key without `storage_bytes` of "
        "its own may keep; no limit if not given.",
    )
    lease_s: float = Field(
        default=30.0, ge=1, description="Seconds after which the running requests of a killed replica no longer count."
    )


class UsageSettings(Section):
    """The recording of what each key used."""

    flush_s: PositiveSeconds = Field(default=2.0, description="Seconds between two writes to Postgres.")
    max_pending: int = Field(
        default=50_000, ge=1, description="Sums (of a key, model and day) kept in memory while Postgres is away."
    )


class Timeouts(Section):
    """How long a request may wait, in seconds."""

    first_token_s: PositiveSeconds = Field(default=120.0, description="From the request's arrival to the first token.")
    idle_s: PositiveSeconds = Field(default=60.0, description="Between two tokens.")
    total_s: PositiveSeconds = Field(default=900.0, description="For the whole answer.")
    body_s: PositiveSeconds = Field(default=30.0, description="From a request's headers to the end of its body.")


class Limits(Section):
    """What a request may weigh and how many may wait."""

    max_body_bytes: int = Field(default=8_388_608, ge=1024, description="Bytes of a request's body.")
    max_json_values: int = Field(
        default=200_000, ge=100, description="Values (objects, lists, numbers, texts) in a request's JSON."
    )
    max_messages: int = Field(default=2_000, ge=1, description="Messages in one request.")
    max_concurrent_requests: int = Field(default=2_000, ge=1, description="Requests at once in one ingress replica.")


class CorsSettings(Section):
    """Which web pages of other origins may call the API from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol).

    Keys travel in a header and never in cookies, so that no answer allows credentials.
    """

    allow_origins: tuple[Origin, ...] = Field(
        default=(), description='Origins such as `https://app.example.org`, or `"*"` for any; none, if empty.'
    )
    max_age_s: int = Field(
        default=600, ge=0, description="Seconds for which a browser remembers what a preflight request was answered."
    )


class Settings(Section):
    """The `args:` of serve_config.yaml."""

    models: tuple[AnyModel, ...] = Field(
        min_length=1, description="The models that are served, each its own deployment."
    )
    default_model: str = Field(default="", description="Model of a request that names none; the first one if empty.")
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description="Further names of models, e.g. `gpt-4o: guide`, for clients that insist on one; "
        "`claude-*: guide` is for all names that begin so.",
    )
    unknown_models_get_default: bool = Field(
        default=False, description="Answer requests for models that do not exist with the default one."
    )
    cache: CacheSettings = CacheSettings()
    history: HistorySettings = HistorySettings()
    responses: ResponseSettings = ResponseSettings()
    keys: KeySettings = KeySettings()
    key_limits: KeyLimitSettings = KeyLimitSettings()
    usage: UsageSettings = UsageSettings()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    cors: CorsSettings = CorsSettings()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Level of the service's own log."
    )

    @model_validator(mode="after")
    def _names_are_unambiguous(self) -> Self:
        names = [model.id for model in self.models]
        if len({model.deployment for model in self.models}) != len(names):
            raise ValueError(f"model ids must be unique: {names}")
        if self.default_model and self.default_model not in names:
            raise ValueError(f"default_model {self.default_model!r} is not one of {names}")
        names += self.adapters
        for alias, name in self.aliases.items():
            if not alias or alias in names or name not in names or "*" in alias[:-1]:
                raise ValueError(f"alias {alias!r} must be a new name for one of {names}, not for {name!r}")
        for model in self.models:
            if wrong := [name for name in model.fallback if name not in names or name == model.id]:
                raise ValueError(f"model {model.id!r}: fallback {wrong[0]!r} is not another one of {names}")
        return self

    @property
    def adapters(self) -> dict[str, str]:
        """The models' ids by those of their adapters."""
        return {adapter: model.id for model in self.models for adapter in model.adapter_ids}

    @property
    def default_concurrent_requests(self) -> int | None:
        """How many sequences a key without a limit of its own may run at once; None for any number.

        With half of the smallest engine, one such key leaves room for the others.
        """
        if self.key_limits.concurrent_requests is not None:
            return self.key_limits.concurrent_requests or None
        return max(1, min(model.max_sequences for model in self.models) // 2)

    @property
    def default(self) -> AnyModel:
        """The model of a request that names none."""
        return next((m for m in self.models if m.id == self.default_model), self.models[0])


class Addresses(Section):
    """Where the stores are, with their passwords: from the environment only."""

    database_url: SecretStr
    redis_url: SecretStr

    @classmethod
    def from_environment(cls) -> Self:
        """Read DATABASE_URL and REDIS_URL; raise ValueError that names what is missing."""
        missing = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
        if missing:
            raise ValueError(f"set {' and '.join(missing)} in the environment of the Ray cluster")
        return cls(database_url=SecretStr(os.environ["DATABASE_URL"]), redis_url=SecretStr(os.environ["REDIS_URL"]))


def secret_in_environment(name: str) -> SecretStr | None:
    """Return what a variable holds, None if it is not set or empty."""
    value = os.environ.get(name, "").strip()
    return SecretStr(value) if value else None


def hugging_face_cache() -> Path:
    """Return the folder that Hugging Face's library keeps models in, by its own variables."""
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(general, "huggingface")  # noqa: PTH118 - `~` is expanded below
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or os.path.join(home, "hub"))).expanduser()  # noqa: PTH118
