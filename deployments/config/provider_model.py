"""A model that another service runs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from deployments.config.model_base import VLLM_MAX_NUM_SEQS, ModelBase
from deployments.config.section import PositiveSeconds

SECRET_NAME = re.compile(
    r"(?i)(api[-_]?key|secret|passw(or)?d|credential|authorization|(access|auth|bearer)[-_]?token)"
)
OWN_PARAMETERS = frozenset(
    {"model", "model_provider", "base_url", "configurable_fields", "config_prefix", "callbacks", "cache", "n"}
)
"""Arguments of `init_chat_model` that have a setting of their own, or would break the service."""


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


def _names_in(value: Any) -> Iterator[str]:
    """Yield the names in nested mappings."""
    if isinstance(value, Mapping):
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield str(name)  # pyright: ignore[reportUnknownArgumentType]
            yield from _names_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _names_in(inner)
