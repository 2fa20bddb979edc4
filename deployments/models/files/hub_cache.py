"""The cache of Hugging Face's library on this machine, as it is documented.

A repository has a folder, in which `refs` says which commit a branch or a tag stands for, `snapshots` has a folder
of links for each commit, and `blobs` the contents that they lead to.
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from pathlib import Path

from deployments.config import hugging_face_cache

PREFIX = "models--"


def repository_folder(name: str, cache: Path | None = None) -> Path:
    """Return where a cache, the library's own unless another is given, keeps a repository, whether or not it does."""
    return (cache or hugging_face_cache()) / f"{PREFIX}{name.replace('/', '--')}"


def commit_of(repository: Path, revision: str = "main") -> str:
    """Return the commit that a branch or a tag stands for in a repository's folder, "" if that is not known."""
    try:
        return (repository / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def snapshot_of(name: str) -> Path | None:
    """Return the folder with a repository's files, None where none has been downloaded."""
    repository = repository_folder(name)
    commit = commit_of(repository)
    snapshot = repository / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None
