"""What is wrong with a model's settings and files that can be known before vLLM is imported, within a second.

Only what is certain is said: where the model is not on this machine yet, or a format is not known here, vLLM
decides. What vLLM and Transformers know is read from their installed source, as importing them takes seconds.
"""

import ast
import difflib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from deployments.config import VLLMModel, hugging_face_cache
from deployments.models.catalogue import Catalogue, folder_of, is_path
from deployments.models.files.hub_cache import repository_folder
from deployments.models.files.safetensors_header import fault_of
from deployments.models.loading.failure import LoadFailure

DTYPES = frozenset({"auto", "half", "float16", "bfloat16", "float", "float32"})
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt", "spiece.model")
TOKENIZER_PATTERNS = ("*.tiktoken", "tokenizer.model.*", "tokenizer*.py", "tokenization*.py", "*.spm", "*.model")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.tensors")
READS_SAFETENSORS = frozenset({"auto", "safetensors", "hf", None})
READS_NO_WEIGHTS = frozenset({"dummy"})
MAX_SHARDS = 1_000

Check = Callable[[VLLMModel, Path | None], LoadFailure | None]


def check(model: VLLMModel) -> LoadFailure | None:
    """Return what will keep the model from loading, as far as that is certain now; reads files and no network."""
    name = str(model.engine["model"])
    folder = folder_of(name)
    for one in CHECKS:
        if failure := one(model, folder):
            return failure
    return None


def _arguments(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    known = engine_arguments()
    for name in model.engine if known else ():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            return LoadFailure("bad_argument", f"vLLM has no engine argument {name}{meant}")
    return None


def _dtype(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    dtype = model.engine.get("dtype", "auto")
    if dtype in DTYPES:
        return None
    return LoadFailure("wrong_dtype", f"dtype is {dtype!r}, and vLLM computes in auto, bfloat16, half or float32.")


def _exists(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    name = str(model.engine["model"])
    if not is_path(name):
        return _can_be_downloaded(model, folder)
    path = Path(name).expanduser()
    if not path.exists():
        return LoadFailure("not_found", f"{path} does not exist: correct engine.model.")
    if not os.access(path, os.R_OK):
        return LoadFailure("not_permitted", f"{path} may not be read by this service: change its owner or mode.")
    return None


def _can_be_downloaded(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    name = str(model.engine["model"])
    if folder is not None or "download_dir" in model.engine or "://" in name:
        return None
    environment = {**os.environ, **model.environment}
    if environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE") and not _is_cached(name):
        sentence = (
            f"{name} is not on this machine, and HF_HUB_OFFLINE forbids downloading it: unset that, or name a folder."
        )
        return LoadFailure("offline", sentence)
    known = Catalogue.load().entry(name)
    free = _free_bytes(hugging_face_cache())
    if known is not None and free is not None and free < known.bytes and not _is_cached(name):
        return LoadFailure(
            "no_space",
            f"{name} takes {_gb(known.bytes)} on disk, and {_gb(free)} are free in {hugging_face_cache()}: free some "
            "space, or let HF_HOME name a folder on a larger disk.",
            may_pass=True,
        )
    return None


def _config(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    if (
        folder is None
        or model.engine.get("config_format") not in (None, "auto", "hf")
        or "hf_config_path" in model.engine
    ):
        return None
    if (folder / "params.json").exists() or any(folder.glob("*.gguf")):
        return None
    path = folder / "config.json"
    if not path.exists():
        return LoadFailure(
            "no_config", f"{folder} holds no config.json: it is not a model, or was not downloaded completely."
        )
    config = _json(path)
    if config is None:
        return LoadFailure("no_config", f"{path} is no valid JSON object: download it again.")
    if "auto_map" in config or "hf_overrides" in model.engine:
        return None
    named = config.get("architectures")
    architectures = [str(one) for one in cast(list[Any], named)] if isinstance(named, list) else []
    known = architectures_known()
    if architectures and known and not known.intersection(architectures):
        names = ", ".join(architectures)
        return LoadFailure(
            "unknown_architecture",
            f"This vLLM does not know the architecture {names}: update vLLM, or take another model.",
        )
    return None


def _tokenizer(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    if folder is None or model.engine.get("skip_tokenizer_init") or any(folder.glob("*.gguf")):
        return None
    where = folder_of(str(model.engine["tokenizer"])) if model.engine.get("tokenizer") else folder
    if where is None or any((where / name).exists() for name in TOKENIZERS):
        return None
    if any(found for pattern in TOKENIZER_PATTERNS for found in where.glob(pattern)):
        return None
    return LoadFailure(
        "no_tokenizer",
        f"{where} holds no tokenizer (tokenizer.json, tokenizer.model): download it again, or set engine.tokenizer.",
    )


def _weights(model: VLLMModel, folder: Path | None) -> LoadFailure | None:
    form = model.engine.get("load_format")
    if folder is None or form in READS_NO_WEIGHTS or form not in READS_SAFETENSORS:
        return None
    if not any(found for pattern in WEIGHTS for found in folder.glob(pattern)):
        return LoadFailure("no_weights", f"{folder} holds no weights (*.safetensors, *.bin): download the model again.")
    missing = [name for name in _shards(folder) if not (folder / name).exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return LoadFailure("no_weights", f"{folder / missing[0]}{more} is missing: download the model again.")
    for file in sorted(folder.glob("*.safetensors"))[:MAX_SHARDS]:
        if fault := fault_of(file):
            return LoadFailure("corrupt_weights", f"{file} is damaged ({fault}): delete it and download it again.")
    return None


CHECKS: tuple[Check, ...] = (_exists, _arguments, _dtype, _config, _tokenizer, _weights)


def _shards(folder: Path) -> list[str]:
    found: Any = (_json(folder / "model.safetensors.index.json") or {}).get("weight_map")
    return sorted({str(one) for one in cast(dict[str, Any], found).values()}) if isinstance(found, dict) else []


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return cast(Mapping[str, Any], found) if isinstance(found, dict) else None


def _is_cached(name: str) -> bool:
    """Whether any revision of a Hugging Face id is on this machine."""
    return any((repository_folder(name) / "snapshots").glob("*"))


def _free_bytes(path: Path) -> int | None:
    """Return the free bytes of the disk on which a folder is, or will be."""
    for one in (path, *path.parents):
        try:
            return shutil.disk_usage(one).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _source(package: str, *path: str) -> str:
    """Return the source of an installed module without importing it, "" where it is not there."""
    spec = find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        try:
            return Path(place, *path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return ""


@cache
def engine_arguments() -> frozenset[str]:
    """Return the names of the installed vLLM's engine arguments; empty where there is no vLLM to ask."""
    source = _source("vllm", "engine", "arg_utils.py")
    return frozenset(_fields(ast.parse(source))) if source else frozenset()


def _fields(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs"):
            yield from (
                part.target.id
                for part in node.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            )


@cache
def architectures_known() -> frozenset[str]:
    """Return the architectures of the installed vLLM, and those of Transformers, which it can fall back to."""
    own = _source("vllm", "model_executor", "models", "registry.py")
    if not own:
        return frozenset()
    named = re.findall(r"^ {4}\"(\w+)\":", own, re.MULTILINE)
    return frozenset(named) | frozenset(
        re.findall(r"\"([A-Z]\w+)\"", _source("transformers", "models", "auto", "modeling_auto.py"))
    )
