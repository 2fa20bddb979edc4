"""LangChain's chat model for a model of the configuration."""

import math
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from deployments.config import ProviderModel, secret_in_environment

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

NO_KEY = "none"
"""Sent to a `base_url` whose model names no key: the provider's own key is not for other hosts."""

TAKES_TIMEOUT = frozenset(
    {
        *("anthropic", "azure_openai", "deepseek", "fireworks", "google_genai", "groq", "mistralai", "openai"),
        *("openrouter", "together", "xai"),
    }
)
"""Providers whose class has LangChain's standard arguments `timeout` and `max_retries`."""


class Unusable(RuntimeError):
    """The model cannot be constructed; the message is one sentence for its operator and contains no secret."""


def constructed(model: ProviderModel) -> "BaseChatModel":
    """Return LangChain's chat model; imports the provider's package. Raises Unusable.

    Nothing is retried: the client, or the model's `fallback`, decides what follows a refusal.
    """
    from langchain.chat_models import init_chat_model

    arguments = _arguments(model)
    try:
        return init_chat_model(model.model, **arguments)
    except ImportError as error:
        package = _package(error)
        raise Unusable(f"The model {model.id!r} ({model.model}) needs another package: install {package}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise Unusable(f"The model {model.id!r} ({model.model}) cannot be made: {field} {first['msg']}.") from None
    except Exception as error:  # noqa: BLE001 - the boundary to the provider's package, which raises errors of its own
        reason = _without(str(error).strip().partition("\n")[0][:300], arguments.get("api_key"))
        raise Unusable(f"The model {model.id!r} ({model.model}) cannot be made: {reason}") from None


def _arguments(model: ProviderModel) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(model.parameters)
    if model.provider in TAKES_TIMEOUT:
        # Some classes take whole seconds alone.
        arguments = {"timeout": math.ceil(model.timeout_s), "max_retries": 0, **arguments}
    if model.provider == "ollama":
        arguments = {"client_kwargs": {"timeout": model.timeout_s}, **arguments}
    if model.provider in ("openai", "azure_openai"):
        # Without `stream_usage` LangChain asks only OpenAI's own address how many tokens an answer has used. Its time
        # limit between pieces (`stream_chunk_timeout`) loses a cancellation that comes together with a piece, by
        # asyncio.wait_for before Python 3.12: the request would go on for nobody. `timeout` bounds the same.
        arguments = {"stream_usage": True, "stream_chunk_timeout": None, **arguments}
    if model.base_url is not None:
        arguments["base_url"] = model.base_url
    key = _key(model)
    return arguments if key is None else {**arguments, "api_key": key}


def _key(model: ProviderModel) -> SecretStr | None:
    if model.api_key_env is None:
        return SecretStr(NO_KEY) if model.base_url is not None and model.provider != "ollama" else None
    key = secret_in_environment(model.api_key_env)
    if key is None:
        raise Unusable(f"The model {model.id!r} has no key: set {model.api_key_env} in the environment of the cluster.")
    return key


def _package(error: ImportError) -> str:
    """Return the distribution of the module that is missing, as LangChain's providers name theirs."""
    missing = error.name or str(error).partition("pip install ")[2].split("`")[0] or "the provider's LangChain package"
    return missing.partition(".")[0].replace("_", "-")


def _without(text: str, key: SecretStr | None) -> str:
    return text.replace(key.get_secret_value(), "…") if key is not None else text
