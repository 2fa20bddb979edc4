"""Fetching an adapter from a hub into this node's cache, within the bytes that are allowed."""

from dataclasses import dataclass
from typing import Self

from deployments.config import hugging_face_cache
from deployments.errors import BadRequest
from deployments.hub.errors import HubError


@dataclass(frozen=True, slots=True)
class BoundedTransfer:
    """A download that is refused before it begins if it is too large, and shows nothing."""

    max_bytes: int

    def begin(self, total: int, done: int) -> None:
        """See `Transfer`."""
        if total > self.max_bytes:
            raise HubError(f"the repository has {total:,} bytes, and {self.max_bytes:,} are allowed")

    def advance(self, count: int) -> None:
        """See `Transfer`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


def download(repository: str, max_bytes: int) -> None:
    """Bring the cache up to date with a repository; blocks. Raises BadRequest with the reason where it cannot."""
    from huggingface_hub import constants

    from deployments.hub.pull import Pull

    try:
        Pull(constants.ENDPOINT, hugging_face_cache(), repository).run(BoundedTransfer(max_bytes))
    except HubError as error:
        raise BadRequest(f"The adapter cannot be downloaded: {error}.", "source") from None


def is_offline() -> bool:
    """Whether nothing may be downloaded, as HF_HUB_OFFLINE says."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
