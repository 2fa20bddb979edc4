"""Keeping a running service off the hub: what is on this disk is served without asking anybody for it.

Online, vLLM and transformers ask the hub about each model at every start, and take more
files than `pull` did where there are others: Mistral's second copy of the weights.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deployments.config import VLLMModel
from deployments.local.hub.on_disk import find
from deployments.local.service_document import settings_of
from deployments.models.catalogue import is_path

ASKED_FOR = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
MORE = (
    "tokenizer",
    "hf_config_path",
    "speculative_config",
    "download_dir",
    "load_format",
    "config_format",
    "lora_modules",
)
"""Engine arguments by which more may be needed than the model itself."""


def offline_environment(deployed: Path) -> dict[str, str]:
    """Return what keeps the replicas off the hub: nothing if a model is not here, or the user's own word is there.

    Nothing either where adapters may be loaded from the hub while the service runs.
    """
    if any(os.environ.get(name) for name in ASKED_FOR):
        return {}
    document = yaml.safe_load(deployed.read_text(encoding="utf-8"))
    models = [model for model in settings_of(document).models if isinstance(model, VLLMModel)]
    takes_from_hub = any(model.adapter_loading and model.adapter_loading.hub for model in models)
    is_complete = not takes_from_hub and all(_is_here(model.engine) for model in models)
    return {"HF_HUB_OFFLINE": "1"} if is_complete else {}


def _is_here(engine: Mapping[str, Any]) -> bool:
    name = str(engine["model"])
    if any(engine.get(more) for more in MORE):
        return False
    found = None if is_path(name) else find(name)
    return is_path(name) or (found is not None and found.is_whole(str(engine.get("revision") or "main")))
