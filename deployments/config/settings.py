"""The whole of `args:` in the service file, and the `user_config:` of each deployment."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from deployments.config.batches import BatchSettings, FileSettings
from deployments.config.cache import CachePolicy, CacheSettings
from deployments.config.history import HistorySettings, ResponseSettings
from deployments.config.keys import KeyLimitPolicy, KeyLimitSettings, KeySettings, UsageSettings
from deployments.config.model_base import ModelBase, ModelPolicy
from deployments.config.models import AnyModel
from deployments.config.requests import CorsSettings, Limits, Timeouts
from deployments.config.section import PositiveSeconds, Section
from deployments.config.streams import StreamSettings

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
