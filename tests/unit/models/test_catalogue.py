"""The catalogue: which settings a model gets, and that vLLM knows every name in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.config import VLLMModel
from deployments.models.catalogue import Catalogue, Family

CATALOGUE = Catalogue.load()
HERMES_TEMPLATE = "{% for tool in tools %}<tools></tools>{% endfor %}<tool_call>"


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def family(model: str, **files: Any) -> str | None:
    found = CATALOGUE.family_of(model, **files)
    return found.name if found else None


def folder(where: Path, config: dict[str, Any] | None = None, template: str = "") -> str:
    where.mkdir(parents=True)
    if config is not None:
        (where / "config.json").write_text(json.dumps(config))
    if template:
        (where / "chat_template.jinja").write_text(template)
    return str(where)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-0.6B", "qwen3"),
        ("Qwen/Qwen3-0.6B-FP8", "qwen3"),
        ("unsloth/Qwen3-8B-bnb-4bit", "qwen3"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-instruct"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-coder"),
        ("Qwen/Qwen3-Embedding-0.6B", "qwen3-embedding"),
        ("Qwen/Qwen3.5-4B", "qwen3.5"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5"),
        ("Qwen/QwQ-32B", "qwq"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "deepseek-r1-distill"),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseek-r1-distill"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseek-v3.1"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-v3"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "hermes"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral"),
        ("mistralai/Magistral-Small-2506", "magistral"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("microsoft/Phi-4-mini-instruct", "phi4-mini"),
        ("microsoft/Phi-4-reasoning-plus", "phi4-reasoning"),
        ("microsoft/phi-4", "phi"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2"),
        ("HuggingFaceTB/SmolLM3-3B", "smollm3"),
        ("ibm-granite/granite-4.0-h-small", "granite4"),
        ("ibm-granite/granite-3.3-8b-instruct", "granite3"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers"),
        ("someone/a-model-of-their-own", None),
    ],
)
def test_a_hugging_face_id_tells_the_family(model: str, name: str | None) -> None:
    assert family(model) == name


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "qwen3"}, "qwen3"),
        ({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text"}}, "qwen3.5"),
        ({"model_type": "qwen2"}, "qwen2.5"),
        ({"model_type": "llama", "vocab_size": 128256}, "llama3"),
        ({"model_type": "llama", "vocab_size": 49152}, "smollm2"),
        ({"model_type": "llama", "vocab_size": 32000}, None),
        ({"model_type": "gemma3", "text_config": {}}, "gemma3"),
        ({"model_type": "gpt_oss"}, "gpt-oss"),
        ({"model_type": "phi3", "vocab_size": 200064}, "phi4-mini"),
        ({"model_type": "phi3", "vocab_size": 32064}, "phi"),
        ({"architectures": ["BertModel"]}, "sentence-transformers"),
        ({"architectures": 7, "text_config": "none"}, None),
    ],
)
def test_the_config_of_a_folder_tells_the_family(tmp_path: Path, config: dict[str, Any], name: str | None) -> None:
    assert family(folder(tmp_path / "mine", config)) == name


def test_the_chat_template_tells_the_family_where_the_config_does_not(tmp_path: Path) -> None:
    llama = {"model_type": "llama", "vocab_size": 2560}
    assert family(folder(tmp_path / "one", llama, HERMES_TEMPLATE)) == "hermes"
    assert family(folder(tmp_path / "two", llama, "<|start_header_id|>x<|eot_id|>")) == "llama3"
    assert family(folder(tmp_path / "three", llama, "{{ messages }}")) is None


def test_the_name_of_a_folder_counts_and_those_of_the_folders_around_it_do_not(tmp_path: Path) -> None:
    assert family(folder(tmp_path / "qwen3-tests" / "mine")) is None
    assert family(folder(tmp_path / "Qwen3-0.6B")) == "qwen3"


def test_files_that_are_no_json_or_too_large_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    for number, text in enumerate(["{", "[]", '{"model_type": "qwen3"}' + " " * (17 << 20), "[" * 100_000]):
        broken = tmp_path / str(number)
        broken.mkdir()
        (broken / "config.json").write_text(text)
        assert family(str(broken)) is None


def test_a_model_in_hugging_faces_cache_is_read_there(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--someone--tuned"
    folder(cached / "snapshots" / "abc", {"model_type": "smollm3"})
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert family("someone/tuned") == "smollm3"


@pytest.mark.parametrize("name", ["qwen3:0.6b", "qwen3", "QWEN3:0.6B", "Qwen/Qwen3-0.6B"])
def test_a_model_is_found_by_each_of_its_names(name: str) -> None:
    entry = CATALOGUE.entry(name)
    assert entry is not None and entry.model == "Qwen/Qwen3-0.6B"


def test_an_unknown_size_is_answered_with_the_known_ones() -> None:
    assert CATALOGUE.entry("qwen3:99b") is None
    assert "qwen3:0.6b" in CATALOGUE.suggestions("qwen3:99b")


def test_a_name_becomes_a_whole_entry_of_the_service_file() -> None:
    entry = CATALOGUE.settings_for("qwen3:0.6b", on_gpu=True)
    assert entry == {
        "id": "qwen3-0.6b",
        "kind": "vllm",
        "writes_titles": False,
        "engine": {
            "model": "Qwen/Qwen3-0.6B",
            "max_model_len": -1,
            "override_generation_config": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
            "reasoning_parser": "qwen3",
        },
        "chat": {"enable_auto_tools": True, "tool_parser": "hermes", "reasoning_parser": "qwen3"},
    }


def test_an_unknown_model_has_vllms_own_defaults(tmp_path: Path) -> None:
    plain = {"max_model_len": -1}
    assert CATALOGUE.settings_for("someone/new", on_gpu=True)["engine"] == {"model": "someone/new", **plain}
    weights = folder(tmp_path / "my-model")
    entry = CATALOGUE.settings_for(weights, on_gpu=True)
    assert (entry["id"], entry["engine"], "chat" in entry) == ("my-model", {"model": weights, **plain}, False)


def test_an_embedding_model_pools_and_gets_no_options_of_a_chat() -> None:
    entry = CATALOGUE.settings_for("all-minilm", on_gpu=True)
    assert entry["engine"] == {"model": "sentence-transformers/all-MiniLM-L6-v2", "runner": "pooling"}
    assert "chat" not in entry


def test_what_is_said_wins_over_the_catalogue() -> None:
    said = {
        "id": "a",
        "engine": {"model": "Qwen/Qwen3-0.6B", "override_generation_config": {"temperature": 0}},
        "chat": {"tool_parser": "qwen3_xml", "reasoning_parser": "deepseek_r1"},
    }
    assert CATALOGUE.completed(said, CATALOGUE.family("qwen3")) == said
    without_tools = {"id": "a", "engine": {"model": "x"}, "chat": {"enable_auto_tools": False}}
    assert CATALOGUE.completed(without_tools, CATALOGUE.family("qwen2.5"))["chat"] == {"enable_auto_tools": False}


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=lambda entry: entry.name)
def test_each_model_belongs_to_a_family_that_does_what_it_says(entry: Any) -> None:
    found = CATALOGUE.family_of(entry.model)
    assert isinstance(found, Family)
    assert found.makes_embeddings == ("embeddings" in entry.capabilities)
    assert "reasoning" not in entry.capabilities or found.reasoning_parser
    assert "tools" not in entry.capabilities or found.tool_parser
    VLLMModel.model_validate(CATALOGUE.settings_for(entry.name))


@pytest.mark.parametrize(("name", "writes"), [("smollm2", False), ("Qwen/Qwen3-0.6B", False), ("qwen3:4b", True)])
def test_a_small_model_is_not_asked_for_titles(name: str, writes: bool) -> None:
    assert VLLMModel.model_validate(CATALOGUE.settings_for(name)).writes_titles is writes


def test_numbers_of_tokens_are_whole_as_vllm_wants_them() -> None:
    chosen = [one.sampling["top_k"] for one in CATALOGUE.families if "top_k" in one.sampling]
    assert chosen and all(isinstance(top_k, int) for top_k in chosen)
    assert CATALOGUE.settings_for("qwen3")["engine"]["override_generation_config"]["top_k"].__class__ is int


def test_no_name_means_two_models() -> None:
    names = [name for entry in CATALOGUE.models for name in (entry.name, entry.model.lower(), *entry.aliases)]
    assert len(names) == len(set(names))
    families = [one.name for one in CATALOGUE.families]
    assert len(families) == len(set(families))
    assert all(pattern == pattern.lower() for one in CATALOGUE.families for pattern in one.ids)


def test_a_wrong_catalogue_is_one_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "catalogue.yaml"
    wrong.write_text("families: [{name: a, title: A, parser: b}]\nmodels: []\n")
    with pytest.raises(ValueError, match=r"catalogue\.yaml: families\.0\.parser: Extra inputs"):
        Catalogue.load(wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # vLLM's own imports
def test_the_installed_vllm_knows_every_name() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.reasoning import ReasoningParserManager
    from vllm.sampling_params import SamplingParams
    from vllm.tool_parsers import ToolParserManager

    fields, sampling = AsyncEngineArgs.__dataclass_fields__, SamplingParams.__struct_fields__
    for one in CATALOGUE.families:
        if one.tool_parser:
            assert ToolParserManager.get_tool_parser(one.tool_parser), one.name
        if one.reasoning_parser:
            assert ReasoningParserManager.get_reasoning_parser(one.reasoning_parser), one.name
        assert one.engine.keys() <= fields.keys(), one.name
        assert set(one.sampling) <= set(sampling), one.name
