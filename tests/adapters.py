"""Small LoRA adapters as peft writes them, their weights drawn from a seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

MODULES = ("q_proj", "v_proj")


def write_adapter(folder: Path, base: Path, *, seed: int = 0, rank: int = 8, strength: float = 0.5) -> Path:
    """Write an adapter for the attention of a llama-like model into a new folder, and return it."""
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    outs = {"q_proj": heads * head, "v_proj": config["num_key_value_heads"] * head}
    drawn = np.random.default_rng(seed)
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for layer in range(config["num_hidden_layers"]):
        for module in MODULES:
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            weights[f"{name}.lora_A.weight"] = drawn.normal(0, strength, (rank, hidden)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = drawn.normal(0, strength, (outs[module], rank)).astype(np.float32)
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "LORA",
                "base_model_name_or_path": str(base),
                "r": rank,
                "lora_alpha": 16,
                "target_modules": list(MODULES),
                "bias": "none",
                "task_type": "CAUSAL_LM",
            }
        )
    )
    return folder
