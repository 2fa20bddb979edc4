"""What all kinds of models have in common: what the ingress alone reads of them, and what it asks of each kind."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.config.section import PositiveSeconds, Section

VLLM_MAX_NUM_SEQS = 128
"""The least of vLLM's own defaults of `max_num_seqs`: that of an API server on a CPU."""


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
    """How requests wait while a model's engines are full: keys share what there is, and no request waits for ever."""

    max_waiting: int = Field(
        default=1024, ge=1, description="Requests that wait at once in one ingress replica; another one is a 503."
    )
    max_waiting_per_key: int = Field(
        default=256, ge=1, description="How many of these may be of one key; another one is a 429."
    )
    max_wait_s: PositiveSeconds = Field(default=120.0, description="Seconds that a request waits at most.")


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
