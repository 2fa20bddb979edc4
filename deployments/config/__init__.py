"""Typed settings, and the only reader of the environment.

`serve_config.yaml` carries two kinds of settings: what Ray Serve scales stands
under `deployments:`, what this code reads stands under `args:` and is validated
here as `Settings`. Addresses with passwords come from the environment
(`DATABASE_URL`, `REDIS_URL`) and never stand in a file that Ray's dashboard shows.
"""

from deployments.config.batches import BatchSettings, FileSettings
from deployments.config.cache import SEMANTIC_CACHE, CachePolicy, CacheSettings, SemanticSettings
from deployments.config.current import Current
from deployments.config.environment import (
    Addresses,
    hugging_face_cache,
    secret_in_environment,
)
from deployments.config.history import HistorySettings, ResponseSettings
from deployments.config.keys import KeyLimitPolicy, KeyLimitSettings, KeySettings, UsageSettings
from deployments.config.model_base import ModelBase, ModelCacheSettings, ModelPolicy, QueueSettings
from deployments.config.models import (
    AdapterLoading,
    AnyModel,
    BrokenModel,
    LoRAModule,
    ScriptedModel,
    VLLMModel,
    model_of,
)
from deployments.config.provider_model import ProviderModel
from deployments.config.requests import CorsSettings, Limits, Timeouts
from deployments.config.section import (
    PositiveSeconds,
    Section,
    first_problem,
)
from deployments.config.settings import (
    IngressUserConfig,
    ModelUserConfig,
    ReplicaUserConfig,
    Settings,
)
from deployments.config.streams import StreamSettings

__all__ = [
    "SEMANTIC_CACHE",
    "AdapterLoading",
    "Addresses",
    "AnyModel",
    "BatchSettings",
    "BrokenModel",
    "CachePolicy",
    "CacheSettings",
    "CorsSettings",
    "Current",
    "FileSettings",
    "HistorySettings",
    "IngressUserConfig",
    "KeyLimitPolicy",
    "KeyLimitSettings",
    "KeySettings",
    "Limits",
    "LoRAModule",
    "ModelBase",
    "ModelCacheSettings",
    "ModelPolicy",
    "ModelUserConfig",
    "PositiveSeconds",
    "ProviderModel",
    "QueueSettings",
    "ReplicaUserConfig",
    "ResponseSettings",
    "ScriptedModel",
    "Section",
    "SemanticSettings",
    "Settings",
    "StreamSettings",
    "Timeouts",
    "UsageSettings",
    "VLLMModel",
    "first_problem",
    "hugging_face_cache",
    "model_of",
    "secret_in_environment",
]
