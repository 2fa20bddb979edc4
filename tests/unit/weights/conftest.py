"""A wheel with a small Llama in a GGUF file, as llama.cpp's converter would have written it."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

HEADS, KEY_HEADS, WIDTH, INNER, LAYERS = 4, 2, 64, 96, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MESSAGE = "<|im_start|>{{ message['content'] }}<|im_end|>"
SYSTEM = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are …' }}{% endif %}"
TEMPLATE = f"{{% for message in messages %}}{MESSAGE}{{% endfor %}}"


@dataclass
class SmallModel:
    """What the GGUF file is made of; `weights` are the values that transformers has to read."""

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    weights: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    more_tensors: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    architecture: str = "llama"
    pre_tokenizer: str = "smollm"
    template: str = TEMPLATE

    def write(self, path: Path) -> None:
        """Write the file: most matrices as Q4_1, the embeddings as Q8_0, vectors in float32."""
        writer = gguf.GGUFWriter(path, self.architecture)
        writer.add_context_length(128)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(LAYERS)
        writer.add_feed_forward_length(INNER)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KEY_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(100_000.0)
        tokens, merges = vocabulary()
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre_tokenizer)
        writer.add_token_list(tokens)
        writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template(self.template)
        rng = np.random.default_rng(0)
        for name, shape, heads in matrices(len(tokens)):
            values = rng.normal(0, 0.1, shape).astype(np.float32)
            kind = gguf.GGMLQuantizationType.Q8_0 if "embd" in name else gguf.GGMLQuantizationType.Q4_1
            packed = gguf.quantize(values if heads is None else permuted(values, heads), kind)
            stored = gguf.dequantize(packed, kind)
            self.weights[name] = stored if heads is None else self._as_before(stored, heads)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
        for name in ["output_norm", *(f"blk.{n}.{norm}" for n in range(LAYERS) for norm in ("attn_norm", "ffn_norm"))]:
            self.weights[name] = rng.normal(1, 0.1, WIDTH).astype(np.float32)
            writer.add_tensor(f"{name}.weight", self.weights[name])
        for name, values in self.more_tensors.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def _as_before(self, values: np.ndarray, heads: int) -> np.ndarray:
        """Undo `permuted` by looking up where it put each row."""
        rows = permuted(np.arange(len(values), dtype=np.float32)[:, None], heads)[:, 0].astype(int)
        found = np.empty_like(values)
        found[rows] = values
        return found


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    return values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def matrices(vocabulary_size: int) -> list[tuple[str, tuple[int, int], int | None]]:
    keys = WIDTH // HEADS * KEY_HEADS
    inner: list[tuple[str, tuple[int, int], int | None]] = [
        ("attn_q", (WIDTH, WIDTH), HEADS),
        ("attn_k", (keys, WIDTH), KEY_HEADS),
        ("attn_v", (keys, WIDTH), None),
        ("attn_output", (WIDTH, WIDTH), None),
        ("ffn_gate", (INNER, WIDTH), None),
        ("ffn_up", (INNER, WIDTH), None),
        ("ffn_down", (WIDTH, INNER), None),
    ]
    layers = [(f"blk.{n}.{name}", shape, heads) for n in range(LAYERS) for name, shape, heads in inner]
    return [("token_embd", (vocabulary_size, WIDTH), None), *layers]


def vocabulary() -> tuple[list[str], list[str]]:
    """Return the tokens, and merges that make words of letters and would make a number of two digits."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = ["h e", "l l", "he ll", "hell o", "Ġ hello", "1 2"]
    return [*SPECIAL, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)], merges


@dataclass(frozen=True)
class Wheel:
    """A packed model and what it was made of."""

    path: Path
    sha256: str
    model: SmallModel


MakeWheel = Callable[..., Wheel]


@pytest.fixture
def make_wheel(tmp_path: Path) -> MakeWheel:
    def make(model: SmallModel | None = None, files: int = 1) -> Wheel:
        model = model or SmallModel()
        gguf_file, path = tmp_path / "small.gguf", tmp_path / "llm_small-1.0-py3-none-any.whl"
        model.write(gguf_file)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("llm_small/__init__.py", "raise SystemExit('run')")
            for number in range(files):
                archive.write(gguf_file, f"llm_small/model-{number}.gguf")
        return Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest(), model)

    return make


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a file of bfloat16 tensors as float32, by the format's description alone."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    found: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(content[8 + length + begin : 8 + length + end], np.uint16)
            assert entry["dtype"] == "BF16"
            found[name] = (raw.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    return found
