"""The files of an adapter to load: where they may be, and whether a model can use them.

The name comes from a request. A folder must lie within one that the service file allows, once links are resolved;
a repository must have been downloaded completely. Nothing is read before its size is known.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.config import AdapterLoading, ScriptedModel, VLLMModel
from deployments.errors import BadRequest, Forbidden, NotFound
from deployments.lora.types import Adapter
from deployments.models.adapters import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, rank
from deployments.models.catalogue import config_of
from deployments.models.files.hub_cache import repository_folder, snapshot_of
from deployments.models.files.safetensors_header import NotSafetensors, Tensor, read_header

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
LAYER = re.compile(r"\.layers\.(\d+)\.")
READS_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
WRITES_HIDDEN = ("o_proj", "down_proj")
"""Modules of a layer whose input, or output, is as wide as the model, whatever the architecture."""


def checked(model: VLLMModel | ScriptedModel, name: str, source: str) -> Adapter:
    """Return what an adapter's files hold; raises NotFound, Forbidden or BadRequest, each with the reason."""
    settings = allowed(model)
    folder = find(settings, source)
    size_bytes = sum(file.stat().st_size for file in files_of(folder))
    if size_bytes > settings.max_bytes:
        raise BadRequest(f"The adapter has {size_bytes:,} bytes, and {settings.max_bytes:,} are allowed.", "source")
    config = _config(folder)
    found = _rank(folder)
    if found > settings.max_rank:
        raise BadRequest(f"The adapter's rank is {found}, and {settings.max_rank} is allowed.", "source")
    base = config_of(str(model.engine["model"])) if isinstance(model, VLLMModel) else None
    _check_tensors(_tensors(folder), found, base)
    _check_kind(config)
    return Adapter(model.id, name, source, digest(folder), found, size_bytes)


def allowed(model: object) -> AdapterLoading:
    """Return what may be loaded into a model; raises Forbidden where nothing may."""
    settings = getattr(model, "adapter_loading", None)
    if settings is None:
        raise Forbidden("No adapter may be loaded into this model: its `adapter_loading` is not set.", "model")
    return settings


def find(settings: AdapterLoading, source: str) -> Path:
    """Return the folder of an adapter that may be loaded, with both of its files there."""
    if folder := _below_a_root(settings, source):
        root = folder
    elif HUB_ID.fullmatch(source) and settings.hub:
        root = repository_folder(source)
        folder = snapshot_of(source)
    else:
        folder, root = None, Path()
    if folder is None:
        raise NotFound(f"There is no adapter {source!r} in a folder from which adapters may be loaded.", "source")
    for name in (CONFIG, WEIGHTS):
        file = folder / name
        if not file.is_file() or not file.resolve().is_relative_to(root.resolve()):
            raise BadRequest(f"{source!r} has no {name}: name the folder that peft saved.", "source")
    return folder


def is_below_a_root(settings: AdapterLoading, source: str) -> bool:
    """Whether a source is a folder from which adapters may be loaded, and so no repository."""
    return _below_a_root(settings, source) is not None


def files_of(folder: Path) -> tuple[Path, Path]:
    """Return the files that count: the configuration and the weights."""
    return folder / CONFIG, folder / WEIGHTS


def digest(folder: Path) -> str:
    """Return a hash over the contents of an adapter's files."""
    total = hashlib.sha256()
    for path in files_of(folder):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _below_a_root(settings: AdapterLoading, source: str) -> Path | None:
    """Return the folder that is meant, links followed, if it is strictly below an allowed one."""
    if "\0" in source:
        return None
    for text in settings.folders:
        root = Path(text).expanduser().resolve()
        try:
            folder = (root / source).resolve()
            if folder != root and folder.is_relative_to(root) and folder.is_dir():
                return folder
        except (OSError, RuntimeError):  # a name that is too long, or links in a circle
            continue
    return None


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / CONFIG
    try:
        found = json.loads(file.read_bytes()) if file.stat().st_size <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"The adapter's {CONFIG} is not a JSON object.", "source")
    return found


def _rank(folder: Path) -> int:
    try:
        return rank(folder)
    except ValueError:
        raise BadRequest(f"The adapter's {CONFIG} describes a LoRA adapter that cannot be served.", "source") from None


def _check_kind(config: Mapping[str, Any]) -> None:
    """Refuse what vLLM does not apply: it would answer without it, or fail."""
    if config.get("use_dora") or config.get("modules_to_save") or config.get("bias", "none") != "none":
        raise BadRequest("Adapters with DoRA, biases or modules_to_save cannot be served.", "source")


def _tensors(folder: Path) -> Mapping[str, Tensor]:
    try:
        found = read_header(folder / WEIGHTS)
    except NotSafetensors as error:
        raise BadRequest(f"The adapter's {WEIGHTS} is damaged: {error}.", "source") from None
    if not any(".lora_A." in name for name in found):
        raise BadRequest(f"The adapter's {WEIGHTS} contains no LoRA weights.", "source")
    return found


def _check_tensors(tensors: Mapping[str, Tensor], max_rank: int, base: Mapping[str, Any] | None) -> None:
    """Refuse weights of a higher rank than is said, or for a model of another width or depth."""
    text = (base or {}).get("text_config") or base or {}
    width, depth = text.get("hidden_size"), text.get("num_hidden_layers")
    for name, tensor in tensors.items():
        module, is_a = name.rpartition(".lora_")[0].rpartition(".")[2], ".lora_A." in name
        layer = LAYER.search(name)
        if len(tensor.shape) != 2:
            raise BadRequest(f"The adapter's {name} is not a matrix.", "source")
        if tensor.shape[0 if is_a else 1] > max_rank:
            raise BadRequest(f"The adapter's {name} has a higher rank than its {CONFIG} says.", "source")
        if layer and isinstance(depth, int) and int(layer[1]) >= depth:
            raise BadRequest(f"The adapter is for another model: this one has {depth} layers.", "source")
        wide = tensor.shape[1] if is_a and module in READS_HIDDEN else None
        wide = tensor.shape[0] if not is_a and module in WRITES_HIDDEN else wide
        if wide is not None and isinstance(width, int) and wide != width:
            raise BadRequest(
                f"The adapter is for a model of width {wide}, and this one's is {width}: it has another base model.",
                "source",
            )
