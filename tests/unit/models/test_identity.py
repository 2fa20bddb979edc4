"""The same name with anything else behind it is another model."""

import os

import pytest

from deployments.config import ModelCacheSettings, ScriptedModel, VLLMModel
from deployments.models import identity as identity_module
from deployments.models.identity import NOT_IN_IDENTITY, identity


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "weights"
    (folder / "adapter").mkdir(parents=True)
    (folder / "config.json").write_text('{"layers": 2}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    (folder / "adapter" / "adapter.safetensors").write_bytes(b"a" * 1000)
    return folder


def served(folder, **more) -> VLLMModel:
    return VLLMModel(id="guide", engine={"model": str(folder), **more.pop("engine", {})}, **more)


def replaced(folder, name: str, content: bytes) -> None:
    """Put another content into a file, with the same size and the same time of change."""
    before = (folder / name).stat()
    assert len(content) == before.st_size
    (folder / name).write_bytes(content)
    os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_nothing_changed_nothing_changes(folder):
    assert identity(served(folder)) == identity(served(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", bytes(range(255, -1, -1)) * 100),
        ("model.safetensors", bytes(range(256)) * 99 + bytes(255) + b"x"),
        ("adapter/adapter.safetensors", b"b" * 1000),
        ("config.json", b'{"layers": 3}'),
    ],
)
def test_other_files_in_the_folder_are_another_model(folder, name, content):
    before = identity(served(folder))
    replaced(folder, name, content)
    assert identity(served(folder)) != before


def test_two_folders_with_other_weights_under_one_name(folder, tmp_path, monkeypatch):
    """Relative paths, so that the settings of both are equal to the letter."""
    found = set()
    for place, content in (("one", b"1"), ("other", b"2"), ("same", b"1")):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model" / "model.safetensors").write_bytes(content)
        monkeypatch.chdir(tmp_path / place)
        found.add(identity(served("model")))
    assert len(found) == 2


def test_a_large_file_counts_by_its_samples(folder, monkeypatch):
    monkeypatch.setattr(identity_module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(identity_module, "SAMPLE_BYTES", 16)
    monkeypatch.setattr(identity_module, "SAMPLES", 4)
    before = identity(served(folder))
    for place in (0, 25_599):
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[place] ^= 1
        replaced(folder, "model.safetensors", bytes(content))
        after = identity(served(folder))
        assert after != before
        before = after
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert identity(served(folder)) != before


def test_a_chat_template_counts_with_its_content(folder, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("one")
    before = identity(served(folder, chat={"chat_template": str(template)}))
    template.write_text("two")
    assert identity(served(folder, chat={"chat_template": str(template)})) != before


def test_an_adapter_elsewhere_counts_with_its_content(folder, tmp_path):
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "weights.bin").write_bytes(b"1")
    engine = {"lora_modules": [{"name": "mine", "path": str(adapter)}]}
    before = identity(served(folder, engine=engine))
    (adapter / "weights.bin").write_bytes(b"2")
    assert identity(served(folder, engine=engine)) != before


@pytest.mark.parametrize(
    "more",
    [
        {"engine": {"dtype": "float16"}},
        {"engine": {"seed": 1}},
        {"chat": {"chat_template": "{{ messages }}\n"}},
        {"chat": {"tool_parser": "hermes"}},
        {"environment": {"VLLM_ATTENTION_BACKEND": "x"}},
    ],
)
def test_other_options_are_another_model(folder, more):
    assert identity(served(folder, **more)) != identity(served(folder))


@pytest.mark.parametrize("more", [{"cache": ModelCacheSettings(ttl_s=1)}, {"max_prompt_messages": 5}])
def test_what_cannot_change_an_answer_is_left_out(folder, more):
    assert more.keys() <= NOT_IN_IDENTITY.keys()
    assert identity(served(folder, **more)) == identity(served(folder))


def test_another_version_of_vllm_is_another_model(folder, monkeypatch):
    before = identity(served(folder))
    monkeypatch.setattr(identity_module, "_vllm_version", lambda: "99")
    assert identity(served(folder)) != before


def test_a_downloaded_model_counts_with_the_commit_of_its_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    unknown = identity(served("org/name"))
    refs = tmp_path / "models--org--name" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("abc")
    first = identity(served("org/name"))
    (refs / "main").write_text("def")
    assert (
        len({unknown, first, identity(served("org/name")), identity(served("org/name", engine={"revision": "v1"}))})
        == 4
    )


def test_scripted_models_differ_by_their_settings():
    one, other = (ScriptedModel(id="a", kind="scripted", tokens=tokens) for tokens in (1, 2))
    assert identity(one) != identity(other)
