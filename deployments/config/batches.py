"""The bounds of files and batches."""

from importlib import import_module
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from deployments.config.section import PositiveSeconds, Section


class FileSettings(Section):
    """The files that clients upload for batches, and those that batches write."""

    max_bytes: int = Field(default=209_715_200, ge=1024, description="Bytes of one file (200 MB at OpenAI).")
    max_bytes_per_key: int = Field(default=2_147_483_648, ge=1024, description="Bytes of all files of one key.")
    max_files_per_key: int = Field(default=1_000, ge=1, description="Files of one key.")
    ttl_days: float = Field(default=30.0, gt=0, le=3_650, description="Days after which a file is deleted.")
    upload_s: PositiveSeconds = Field(default=600.0, description="Seconds within which an upload must arrive.")
    max_uploads: int = Field(
        default=16, ge=1, description="Files that one ingress replica receives at once; more are a 503."
    )
    url: str | None = Field(
        default=None,
        description="Where the contents of new files are kept: `file:///folder`, which all nodes share, or an object "
        "store such as `s3://bucket/prefix`, whose package for fsspec (s3fs) must be installed and finds its "
        "credentials itself; if not given, Postgres.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if not parts.scheme or parts.username or parts.password or parts.query:
            raise ValueError("must be a URL such as file:///folder or s3://bucket/prefix, without credentials")
        if parts.scheme == "file":
            if parts.netloc or not parts.path.startswith("/"):
                raise ValueError("must name a folder by its whole path, as in file:///folder")
        else:
            _ensure_installed(parts.scheme)
        return url


def _ensure_installed(scheme: str) -> None:
    """Raise ValueError where nothing that is installed reaches such an object store."""
    fsspec = import_module("fsspec")
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{scheme}:// cannot be reached: {error}") from None


class BatchSettings(Section):
    """The batches: many requests in one file, answered within 24 hours."""

    max_lines: int = Field(default=50_000, ge=1, description="Requests in one batch (50,000 at OpenAI).")
    max_line_bytes: int = Field(default=1_048_576, ge=1024, description="Bytes of one request in the file.")
    max_open_per_key: int = Field(default=20, ge=1, description="Batches of one key that have not ended.")
    max_in_flight: int | None = Field(
        default=None,
        ge=0,
        description="Requests of batches that one ingress replica has answered at once, 0 for none; if not given, "
        "what the smallest engine runs at once (`max_num_seqs`, or 128). The queue before the engines leaves every "
        "eighth place to others.",
    )
    lease_s: float = Field(
        default=15.0, ge=1, description="Seconds after which other replicas answer the requests of one that was lost."
    )
    keep_days: float = Field(default=90.0, ge=1, description="Days after which a batch that has ended is forgotten.")
