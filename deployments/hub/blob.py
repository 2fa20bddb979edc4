"""Downloading one file: resumed where it was interrupted, bounded by its size, and compared with its checksum."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from deployments.hub.checksum import matches
from deployments.hub.errors import HubError
from deployments.hub.progress import Transfer

PARTIAL_CONTENT = 206
ATTEMPTS = 5
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Blob:
    """The content of a file: `path` is where it will be, `url` where it is, `etag` its checksum.

    `is_on_hub` is false where `url`, a signed one, is of storage that must not see the token.
    """

    name: str
    path: Path
    url: str
    etag: str
    size: int
    is_on_hub: bool

    @property
    def partial(self) -> Path:
        """What has arrived of it, until it has arrived whole."""
        return self.path.with_name(f"{self.etag}.incomplete")

    @property
    def bytes_here(self) -> int:
        """How much of it is on this disk, not yet compared with the checksum."""
        sizes = [path.stat().st_size for path in (self.path, self.partial) if path.is_file()]
        return min(self.size, sizes[0]) if sizes else 0

    def fetch(self, transfer: Transfer, stopped: threading.Event) -> None:
        """Have the whole content, checked; what is there already is checked as well and replaced if it is damaged.

        Raises httpx's errors once `ATTEMPTS` in a row have failed, and HubError
        where the content is another one. Once `stopped` is set it returns soon, with a part.
        """
        if self.path.is_file():
            if matches(self.path, self.etag):
                return
            transfer.advance(-self.bytes_here)
            self.path.unlink()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.partial.open("ab") as output:
            if output.tell() > self.size:
                output.seek(0)
                output.truncate()
            self._arrive(output, transfer, stopped)
        if not stopped.is_set():
            self._accept()

    def _arrive(self, output: BinaryIO, transfer: Transfer, stopped: threading.Event) -> None:
        failures = 0
        while output.tell() < self.size and not stopped.is_set():
            before = output.tell()
            try:
                self._append(output, transfer, stopped)
            except httpx.TransportError:
                failures = failures + 1 if output.tell() == before else 1
                if failures == ATTEMPTS:
                    raise
                stopped.wait(RETRY_S * failures)

    def _append(self, output: BinaryIO, transfer: Transfer, stopped: threading.Event) -> None:
        """Append what one response brings, up to the file's size."""
        here = output.tell()
        headers = {**self._headers(), "Accept-Encoding": "identity", "Range": f"bytes={here}-"}
        with http_stream_backoff(
            "GET", self.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, retry_on_exceptions=()
        ) as response:
            hf_raise_for_status(response)
            if here and response.status_code != PARTIAL_CONTENT:  # it comes from its beginning
                transfer.advance(-here)
                output.seek(0)
                output.truncate()
            for chunk in response.iter_bytes():
                if stopped.is_set():
                    return
                if output.tell() + len(chunk) > self.size:
                    raise HubError(f"{self.name} is larger than the hub says: check the mirror in HF_ENDPOINT")
                output.write(chunk)
                transfer.advance(len(chunk))
        if output.tell() == here:
            raise httpx.RemoteProtocolError("an answer without content")

    def _headers(self) -> dict[str, str]:
        headers = build_hf_headers(library_name="chatllm")
        return {name: value for name, value in headers.items() if self.is_on_hub or name != "authorization"}

    def _accept(self) -> None:
        if not matches(self.partial, self.etag):
            self.partial.unlink()
            raise HubError(
                f"{self.name} arrived damaged and was removed: pull again; "
                "if it is damaged again, a proxy or the mirror in HF_ENDPOINT changes it"
            )
        self.partial.replace(self.path)
