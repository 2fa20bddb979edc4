"""The whole of `args:` in the service file, and its groups other than the models."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config.models import AnyModel
from deployments.config.section import PositiveSeconds, Section

Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,*]+)$")]
"""As browsers send it: a scheme, a host and its port unless it is the scheme's own, without a path."""

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
        "`package.module:attribute`: an instance, or what makes one. Its answers may be wrong.",
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
    encrypt_replica_traffic: bool | None = Field(
        default=None,
        description="Encrypt the connections between replicas (TLS 1.3); if not set, those between machines only.",
    )
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
