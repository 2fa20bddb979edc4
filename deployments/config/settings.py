"""The whole of `args:` in the service file, and its groups other than the models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from deployments.config.batches import BatchSettings, FileSettings
from deployments.config.cache import CachePolicy, CacheSettings
from deployments.config.model_base import ModelBase, ModelPolicy
from deployments.config.models import AnyModel
from deployments.config.section import PositiveSeconds, Section
from deployments.config.streams import StreamSettings

Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,*]+)$")]
"""As browsers send it: a scheme, a host and its port unless it is the scheme's own, without a path."""


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
        default=64, ge=1, description="Responses that one key runs in the background at once, on all replicas together."
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


class KeyLimitPolicy(Section):
    """The limits of keys that have none of their own: changed in place."""

    concurrent_requests: int | None = Field(
        default=None,
        ge=0,
        description="Answers generated at once of a key without `concurrent_requests` of its own, 0 for no limit; if "
        "not given, half of what the smallest engine runs at once (`max_num_seqs`, or 128).",
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests per minute of a key without such a limit of its own; else none."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens per minute of a key without such a limit of its own; else none."
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
        description="Bytes of conversations, responses, stored completions and files that a key without "
        "`storage_bytes` of its own may keep; no limit if not given.",
    )


class KeyLimitSettings(KeyLimitPolicy):
    """The holding of keys' limits."""

    timeout_s: PositiveSeconds = Field(
        default=0.05, description="Seconds after which Redis counts as away: limits then hold per replica."
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

    first_token_s: PositiveSeconds = Field(
        default=120.0, description="From the request's arrival to the first token, less the time that it is held."
    )
    idle_s: PositiveSeconds = Field(default=60.0, description="Between two tokens.")
    total_s: PositiveSeconds = Field(default=900.0, description="For the whole answer.")
    silence_s: PositiveSeconds = Field(
        default=15.0,
        description="Until a stream sends a ping where it has nothing else to send. A stream whose first token takes "
        "longer has begun by then: if it fails, it ends in an error event, and no other model answers in its place.",
    )
    body_s: PositiveSeconds = Field(default=30.0, description="From a request's headers to the end of its body.")
    upload_s: PositiveSeconds = Field(default=120.0, description="The same for a recording that is uploaded.")


class Limits(Section):
    """What a request may weigh and how many may wait."""

    max_body_bytes: int = Field(default=8_388_608, ge=1024, description="Bytes of a request's body.")
    max_audio_bytes: int = Field(
        default=26_214_400, ge=1024, description="Bytes of a recording that is to be transcribed (25 MiB at OpenAI)."
    )
    max_uploads: int = Field(
        default=16, ge=1, description="Recordings that one ingress replica holds at once; more are a 503."
    )
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


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class ReplicaUserConfig(Section):
    """The `user_config:` of `CacheLookup` and of each model's deployment."""

    log_level: LogLevel = Field(default="INFO", description="Level of the service's own log.")


class ModelUserConfig(ReplicaUserConfig):
    """The `user_config:` of a model's deployment."""

    target_ttft_s: PositiveSeconds | None = Field(
        default=None,
        le=600,
        description="Seconds to the first token that the autoscaler is to keep to: where prompts queue and take "
        "longer, another replica starts. Without it, it goes by how full the engines are.",
    )


class InPlace(Section):
    """What is read by the ingress alone and changes in place."""

    default_model: str = Field(default="", description="Model of a request that names none; the first one if empty.")
    aliases: dict[str, str] = Field(
        default_factory=dict,
        description="Further names of models, e.g. `gpt-4o: guide`, for clients that insist on one; "
        "`claude-*: guide` is for all names that begin so.",
    )
    unknown_models_get_default: bool = Field(
        default=False, description="Answer requests for models that do not exist with the default one."
    )
    keys: KeySettings = KeySettings()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    streams: StreamSettings = StreamSettings()
    cors: CorsSettings = CorsSettings()
    log_level: LogLevel = Field(default="INFO", description="Level of the service's own log.")


class IngressUserConfig(InPlace):
    """The `user_config:` of `Ingress`. What it does not set is as `args:` have it."""

    cache: CachePolicy = CachePolicy()
    key_limits: KeyLimitPolicy = KeyLimitPolicy()
    models: dict[str, ModelPolicy] = Field(
        default_factory=dict,
        description="What the ingress reads of models, by their ids, in place of what their own `args:` say.",
    )


class Settings(InPlace):
    """The `args:` of the application of ingress and cache; with all `models`, the whole of a service file."""

    models: tuple[AnyModel, ...] = Field(
        default=(),
        description="Models within this application, which restarts as a whole when one of them changes; better each "
        "in an application of its own.",
    )
    cache: CacheSettings = CacheSettings()
    history: HistorySettings = HistorySettings()
    responses: ResponseSettings = ResponseSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    key_limits: KeyLimitSettings = KeyLimitSettings()
    usage: UsageSettings = UsageSettings()
    encrypt_replica_traffic: bool | None = Field(
        default=None,
        description="Encrypt the connections between replicas (TLS 1.3); if not set, those between machines only.",
    )

    @model_validator(mode="after")
    def _names_are_unambiguous(self) -> Self:
        # Without models it is the application beside theirs: they and their names meet elsewhere.
        if self.models and (problems := self.problems):
            raise ValueError(problems[0])
        return self

    @property
    def problems(self) -> list[str]:
        """What is wrong with the names of models, where one stands for another."""
        names = [model.id for model in self.models]
        found: list[str] = []
        if len({model.deployment for model in self.models}) != len(names):
            found.append(f"model ids must be unique: {names}")
        if self.default_model and self.default_model not in names:
            found.append(f"default_model {self.default_model!r} is not one of {names}")
        names += self.adapters
        for alias, name in self.aliases.items():
            if not alias or alias in names or name not in names or "*" in alias[:-1]:
                found.append(f"alias {alias!r} must be a new name for one of {names}, not for {name!r}")
        for model in self.models:
            wrong = [name for name in model.fallback if name not in names or name == model.id]
            found += [f"model {model.id!r}: fallback {name!r} is not another one of {names}" for name in wrong]
        if cycle := fallback_cycle({model.id: model.fallback for model in self.models}):
            found.append(f"fallback: {' -> '.join(cycle)} is a cycle: take one of them out")
        return found

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
        return max(1, min(model.max_sequences for model in self.models) // 2) if self.models else None

    @property
    def batch_lines_in_flight(self) -> int:
        """How many requests of batches one ingress replica has answered at once."""
        if self.batches.max_in_flight is not None:
            return self.batches.max_in_flight
        return min((model.max_sequences for model in self.models), default=1)

    def serving(self, models: Iterable[ModelBase], changes: IngressUserConfig) -> Self:
        """Return what holds with these models and these changes, for which `problems` may find something.

        Models come and go by themselves, so that for a while a name can stand for one that is not there.
        """
        served = [model.overridden(changes.models.get(model.id, ModelPolicy())) for model in models]
        return self.overridden(changes).model_copy(update={"models": tuple(served)})

    @property
    def default(self) -> AnyModel:
        """The model of a request that names none."""
        return next((m for m in self.models if m.id == self.default_model), self.models[0])


def fallback_cycle(fallbacks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return models that are each other's fallbacks in a circle, the first one again at the end; none: empty."""
    done = set[str]()

    def walk(path: list[str]) -> list[str]:
        if path[-1] in path[:-1]:
            return path[path.index(path[-1]) :]
        if path[-1] in done:
            return []
        found = next((cycle for other in fallbacks.get(path[-1], ()) if (cycle := walk([*path, other]))), [])
        done.add(path[-1])
        return found

    return next((cycle for model in fallbacks if (cycle := walk([model]))), [])
