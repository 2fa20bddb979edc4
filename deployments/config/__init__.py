"""Typed settings, and the only reader of the environment.

`serve_config.yaml` carries two kinds of settings: what Ray Serve scales stands
under `deployments:`, what this code reads stands under `args:` and is validated
here as `Settings`. Addresses with passwords come from the environment
(`DATABASE_URL`, `REDIS_URL`) and never stand in a file that Ray's dashboard shows.
"""

from deployments.config.environment import (
    Addresses,
    hugging_face_cache,
    secret_in_environment,
)
from deployments.config.models import (
    AdapterLoading,
    AnyModel,
    LoRAModule,
    ModelCacheSettings,
    ProviderModel,
    ScriptedModel,
    VLLMModel,
)
from deployments.config.section import (
    PositiveSeconds,
    Section,
)
from deployments.config.settings import (
    SEMANTIC_CACHE,
    CacheSettings,
    CorsSettings,
    HistorySettings,
    KeyLimitSettings,
    KeySettings,
    Limits,
    ResponseSettings,
    SemanticSettings,
    Settings,
    Timeouts,
    UsageSettings,
)

__all__ = [
    "SEMANTIC_CACHE",
    "AdapterLoading",
    "Addresses",
    "AnyModel",
    "CacheSettings",
    "CorsSettings",
    "HistorySettings",
    "KeyLimitSettings",
    "KeySettings",
    "Limits",
    "LoRAModule",
    "ModelCacheSettings",
    "PositiveSeconds",
    "ProviderModel",
    "ResponseSettings",
    "ScriptedModel",
    "Section",
    "SemanticSettings",
    "Settings",
    "Timeouts",
    "UsageSettings",
    "VLLMModel",
    "hugging_face_cache",
    "secret_in_environment",
]
