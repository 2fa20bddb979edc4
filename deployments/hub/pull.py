"""Downloading a model into the cache of Hugging Face's library, whole or not at all.

The cache has its documented layout: a blob per content, named for its ETag, and for
each commit a folder of links to blobs. What a revision stands for is written last, so
that nobody takes half a model for a whole one.
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import fcntl
import os
import re
import shutil
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import validate_repo_id
from rich.filesize import decimal

from deployments.hub.blob import Blob
from deployments.hub.checksum import is_checksum
from deployments.hub.errors import HubError
from deployments.hub.files import HubFile, needed
from deployments.hub.progress import Transfer
from deployments.hub.translation import hub_errors
from deployments.models.files.hub_cache import repository_folder

CONNECTIONS = 4
SPARE_BYTES = 256 << 20
REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


@dataclass(frozen=True, slots=True)
class Pull:
    """The download of one repository from the hub at `endpoint` into the folder `cache`."""

    endpoint: str
    cache: Path
    repository: str
    revision: str = "main"
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        """Where the cache keeps this repository."""
        return repository_folder(self.repository, self.cache)

    def run(self, transfer: Transfer) -> Path:
        """Download what is missing, check all of it, and return its folder.

        HubError says what went wrong; an interruption keeps what has arrived.
        """
        with hub_errors(self.endpoint, self.repository):
            validate_repo_id(self.repository)
            if not REVISION.fullmatch(self.revision):
                raise HubError(f"{self.revision!r} is not a revision: name a branch, a tag or a commit")
            with self._locked():
                commit, files = self._listing()
                with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hub") as pool:
                    blobs = dict(zip(files, pool.map(self._blob, files, repeat(commit)), strict=True))
                self._fetch(list({blob.etag: blob for blob in blobs.values()}.values()), transfer)
        snapshot = self.folder / "snapshots" / commit
        for file, blob in blobs.items():
            _link(snapshot / file.path, blob.path)
        self._refer(commit)
        return snapshot

    def _listing(self) -> tuple[str, list[HubFile]]:
        found = HfApi(endpoint=self.endpoint).model_info(
            self.repository, revision=self.revision, files_metadata=True, timeout=30
        )
        if found.sha is None or not is_checksum(found.sha):
            raise HubError(f"{self.endpoint} does not say which commit of {self.repository} it has")
        files = [HubFile(file.rfilename, file.size or 0) for file in found.siblings or ()]
        return found.sha, needed(self.repository, files)

    def _blob(self, file: HubFile, commit: str) -> Blob:
        url = hf_hub_url(self.repository, file.path, revision=commit, endpoint=self.endpoint)
        with hub_errors(self.endpoint, self.repository):
            found = get_hf_file_metadata(url, endpoint=self.endpoint, retry_on_errors=True)
        if not found.etag or not is_checksum(found.etag):
            raise HubError(f"{self.endpoint} gives no checksum for {file.path} of {self.repository}")
        size = file.size if found.size is None else found.size
        is_on_hub = urlsplit(found.location).netloc == urlsplit(url).netloc
        return Blob(file.path, self.folder / "blobs" / found.etag, found.location, found.etag, size, is_on_hub)

    def _fetch(self, blobs: Sequence[Blob], transfer: Transfer) -> None:
        total, here = sum(blob.size for blob in blobs), sum(blob.bytes_here for blob in blobs)
        self._require_space(total - here)
        with transfer, ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hub") as pool:
            transfer.begin(total, here)
            try:
                for done in [pool.submit(blob.fetch, transfer, self._stopped) for blob in blobs]:
                    done.result()
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _require_space(self, missing: int) -> None:
        free = shutil.disk_usage(self.cache).free
        if missing and missing + SPARE_BYTES > free:
            raise HubError(
                f"{self.repository} needs {decimal(missing)} more, {decimal(free)} are free in {self.cache}: "
                "make room, or set HF_HUB_CACHE to a folder on a larger disk"
            )

    @contextmanager
    def _locked(self) -> Generator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.folder / ".pull.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HubError(
                f"cannot write to {self.folder} ({error.strerror}): set HF_HUB_CACHE to a folder of this user"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise HubError(f"another process downloads {self.repository}: wait for it") from None
        try:
            yield
        finally:
            os.close(file)

    def _refer(self, commit: str) -> None:
        if self.revision != commit:
            reference = self.folder / "refs" / self.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            new = reference.with_name(f"{reference.name}.new")
            new.write_text(commit, encoding="utf-8")
            new.replace(reference)


def _link(link: Path, blob: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(os.path.relpath(blob, link.parent))
