"""The hub's checksums, which are its ETags: SHA-256 of large files, git's SHA-1 of the others.

https://huggingface.co/docs/huggingface_hub/guides/manage-cache: a blob is named for
the ETag of its file; https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
"""

import hashlib
import re
from pathlib import Path

SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
CHUNK_BYTES = 1 << 20


def is_checksum(etag: str) -> bool:
    """Whether an ETag can be compared with a file's content."""
    return bool(SHA256.fullmatch(etag) or GIT_SHA1.fullmatch(etag))


def matches(file: Path, etag: str) -> bool:
    """Whether the file's content is what the ETag, a checksum, says. Reads the whole file."""
    if SHA256.fullmatch(etag):
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == etag
