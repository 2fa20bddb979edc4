"""LoRA adapters: where the weights of each are, and the engine arguments that make room for them.

An adapter's folder is what `peft` saves: adapter_config.json and adapter_model.safetensors.
A pickled adapter_model.bin is never read. A Hugging Face id stands for what was
downloaded of it: no server downloads an adapter by itself.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.config import LoRAModule, VLLMModel
from deployments.models.files.hub_cache import snapshot_of

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MAX_CONFIG_BYTES = 1 << 20
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM has kernels (vllm/config/lora.py)."""
MAX_IN_BATCH = 8
"""Adapters in one batch unless `max_loras` says otherwise: each costs memory in every layer."""


def adapter_folder(module: LoRAModule) -> Path:
    """Return the folder of an adapter on this machine; ValueError says what is missing."""
    folder = Path(module.path).expanduser()
    if not folder.is_dir():
        folder = snapshot_of(module.path) or folder
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(
                f"the adapter {module.name!r} has no {name} in {folder}: name the folder that peft saved, "
                "or a Hugging Face id that `chatllm models pull` has downloaded"
            )
    return folder.resolve()


def rank(folder: Path) -> int:
    """Return an adapter's rank; ValueError where its configuration is of no LoRA adapter that vLLM can serve."""
    with (folder / CONFIG).open("rb") as file:
        text = file.read(MAX_CONFIG_BYTES)
    try:
        config: dict[str, Any] = json.loads(text)
        ranks = [int(config["r"]), *(int(value) for value in (config.get("rank_pattern") or {}).values())]
        if config.get("peft_type") != "LORA" or not 1 <= max(ranks) <= RANKS[-1]:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder / CONFIG} does not describe a LoRA adapter of rank 1 to {RANKS[-1]}") from None
    return max(ranks)


def engine_options(model: VLLMModel, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the engine arguments that a model's adapters need; what its `engine` says wins over them."""
    loading = model.adapter_loading
    if not folders and loading is None:
        return {}
    needed = max([*map(rank, folders), loading.max_rank if loading else 1])
    later = loading.max_adapters if loading else 0
    in_batch = int(model.engine.get("max_loras") or min(len(folders) + later, MAX_IN_BATCH))
    return {
        "enable_lora": True,
        "max_loras": in_batch,
        # vLLM must never drop one by itself: it would read the files again, which may have changed.
        "max_cpu_loras": max(in_batch, len(folders) + held_at_most(model)),
        "max_lora_rank": next(known for known in RANKS if known >= needed),
    }


def held_at_most(model: VLLMModel) -> int:
    """Return how many adapters an engine holds that were loaded while it runs: those of now, and ending ones."""
    return 2 * model.adapter_loading.max_adapters if model.adapter_loading else 0
