"""Settings of the response cache."""

from typing import Self

from pydantic import Field, model_validator

from deployments.config.section import PositiveSeconds, Section

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


class CachePolicy(Section):
    """What is kept of answers and for whom: changed in place."""

    ttl_s: PositiveSeconds = Field(default=86_400.0, description="Seconds until a stored answer expires.")
    max_entry_bytes: int = Field(default=1_048_576, ge=1024, description="Bytes above which an answer is not stored.")
    replay_ms: float = Field(
        default=0.0, ge=0, description="Milliseconds between the events of a stream from the cache; 0 sends it at once."
    )
    shared: bool = Field(default=False, description="Let all keys share cached answers; else each has its own.")


class CacheSettings(CachePolicy):
    """The response cache."""

    enabled: bool = Field(default=True, description="Look up and store deterministic requests.")
    lookup_timeout_s: PositiveSeconds = Field(
        default=0.05, description="Seconds after which a look-up is a counted miss."
    )
    namespace: str = Field(default="chatllm", description="Prefix of every key in Redis.")
    hot_bytes: int = Field(
        default=8_388_608, ge=0, description="Bytes of answers that an ingress replica keeps in memory."
    )
    hot_ttl_s: PositiveSeconds = Field(
        default=10.0,
        description="Seconds for which an answer is given from that memory before Redis is asked again; "
        "one that was never asked for again stays for 2.",
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

    @model_validator(mode="after")
    def _semantic_cache_has_a_model(self) -> Self:
        if self.langchain == SEMANTIC_CACHE and not self.semantic.model:
            raise ValueError("cache.semantic.model is missing: the model that makes the embeddings")
        return self
