"""A GGUF file of this machine, converted into a folder that vLLM serves, or refused with the reason."""

import hashlib
import tempfile
from pathlib import Path

from deployments.local.state import LauncherError, StateFolder

REMEDY = "pull the same model in safetensors (chatllm models pull owner/name)"


def is_gguf(name: str) -> bool:
    """Whether a name on the command line means a GGUF file."""
    return name.lower().endswith(".gguf")


def converted(file: Path, state: StateFolder) -> Path:
    """Return the folder made from a file, named for its content: a second time it is there already.

    It is made beside its place and takes it as a whole. LauncherError says why it cannot be converted.
    """
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise LauncherError(f"cannot read {file}: {error.strerror}") from None
    target = state.path / "models" / f"{file.stem}-{digest[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=target.parent, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        _convert(file, made)
        if not target.is_dir():
            made.rename(target)
    return target


def _convert(file: Path, folder: Path) -> None:
    from deployments.weights.conversion import write_model
    from deployments.weights.gguf_tokenizer import UnknownTokenizer
    from deployments.weights.llama_gguf import LlamaFile, UnknownArchitecture

    try:
        write_model(LlamaFile(file), folder)
    except (UnknownArchitecture, UnknownTokenizer) as error:
        raise LauncherError(f"{file} cannot be converted: {error}; {REMEDY}") from None
    except OSError as error:
        raise LauncherError(f"{file} cannot be converted: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        raise LauncherError(f"{file} is damaged, or no GGUF file; {REMEDY}") from None
