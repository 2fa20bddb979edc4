"""A model of Llama-3.1-8B's shape, of which only configuration and tokenizer exist: vLLM makes the weights up."""

import json
from pathlib import Path
from typing import Any

TOKENIZER = Path(__file__).resolve().parents[1] / "demo_model/weights"
VOCABULARY = 128_256
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "vocab_size": VOCABULARY,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Meta-Llama-3.1-8B's config.json, with a shorter window and without its scaling of positions."""


def write_model(folder: Path) -> None:
    """Write the configuration and a tokenizer of as many tokens; vLLM makes the weights up (`load_format: dummy`)."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    settings = (TOKENIZER / "tokenizer_config.json").read_text(encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    tokenizer: dict[str, Any] = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    # Random weights say any token: each has to have a text, or nothing would be streamed.
    taken = set(vocabulary.values()) | {token["id"] for token in tokenizer["added_tokens"]}
    for number in range(VOCABULARY):
        if number not in taken:
            vocabulary[f"\u0120w{number}"] = number  # \u0120 is how byte-level BPE writes a space
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
