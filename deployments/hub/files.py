"""Which files of a repository are needed to serve it: weights in safetensors, tokenizer and configuration.

Pickled weights (.bin, .pt, .pth, .ckpt) can run code when they are read, and Python
files are code: neither is ever downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from deployments.hub.errors import HubError

WANTED = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.tiktoken",
    "*tokenizer.model*",
    "*spiece.model",
    "*sentencepiece*.model",
    "*vocab.txt",
    "*merges.txt",
    "LICENSE*",
)
UNWANTED = (
    # The same weights a second time, in another format or for another program.
    "original/*",
    "metal/*",
    "onnx/*",
    "openvino/*",
    "coreml/*",
    "gguf/*",
    # What training left.
    "checkpoint-*/*",
    "runs/*",
    "trainer_state.json",
)
SECOND_COPY = "consolidated*"
"""Mistral's own format, beside the one of transformers."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
MAX_FILES = 2_000
MAX_PATH = 512


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository: its path there, and its size in bytes."""

    path: str
    size: int

    @property
    def is_weights(self) -> bool:
        """Whether it holds tensors."""
        return self.path.endswith(".safetensors")


def needed(repository: str, files: Sequence[HubFile]) -> list[HubFile]:
    """Return the files to download; HubError if there are no weights that are safe to read."""
    found = [file for file in files if _is_wanted(file.path)]
    if any(file.is_weights and not file.path.startswith("consolidated") for file in found):
        found = [file for file in found if not fnmatchcase(file.path, SECOND_COPY)]
    if not any(file.is_weights for file in found):
        raise HubError(f"{repository} {_why_none(files)}: choose a repository with .safetensors files")
    if len(found) > MAX_FILES:
        raise HubError(f"{repository} has {len(found)} files, more than the {MAX_FILES} that a model may have")
    return found


def _is_wanted(path: str) -> bool:
    parts = PurePosixPath(path).parts
    if not parts or len(path) > MAX_PATH or path.startswith("/") or ".." in parts or "\\" in path:
        return False
    return any(fnmatchcase(path, pattern) for pattern in WANTED) and not any(
        fnmatchcase(path, pattern) for pattern in UNWANTED
    )


def _why_none(files: Sequence[HubFile]) -> str:
    if any(file.path.endswith(".gguf") for file in files):
        return "has its weights as GGUF only, which vLLM does not serve here"
    if any(file.path.endswith(PICKLED) for file in files):
        return "has its weights as Python pickles only, which can run code when they are read"
    return "has no weights"
