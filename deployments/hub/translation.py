"""What a hub, or the way to it, refuses: each as one sentence with its remedy."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from deployments.hub.errors import HubError


@contextmanager
def hub_errors(endpoint: str, repository: str) -> Generator[None]:
    """Turn each error of the library into a HubError."""
    try:
        yield
    except (
        FileMetadataError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        httpx.HTTPError,
        OSError,
    ) as error:
        raise HubError(_sentence(error, endpoint, repository)) from error


def _sentence(error: Exception, endpoint: str, repository: str) -> str:
    match error:
        case OfflineModeIsEnabled():
            return f"{repository} cannot be downloaded while HF_HUB_OFFLINE is set: unset it, or copy the model here"
        case GatedRepoError():
            return (
                f"{repository} is gated: accept its terms at {endpoint}/{repository}, "
                "then set HF_TOKEN to a token of that account"
            )
        case RepositoryNotFoundError():
            return (
                f"{endpoint} has no model {repository} for this user: check the name, "
                "or set HF_TOKEN if it is private or gated"
            )
        case RevisionNotFoundError():
            return f"{repository} has no such revision: name a branch, a tag or a commit of it"
        case HFValidationError():
            return f"{repository!r} is no Hugging Face id: it reads `owner/name`"
        case HfHubHTTPError():
            return _refusal(error.response.status_code, endpoint, repository)
        case FileMetadataError():
            return f"{endpoint} does not speak the hub's protocol: check HF_ENDPOINT, and any proxy between"
        case OSError():
            return (
                f"{repository} cannot be written ({error.strerror}): make room, or set HF_HUB_CACHE to another folder"
            )
        case _:
            return (
                f"{endpoint} cannot be reached ({type(error).__name__}): check the network, "
                "or set HF_ENDPOINT to a mirror; the same command resumes the download"
            )


def _refusal(status: int, endpoint: str, repository: str) -> str:
    if status in (401, 403):
        return f"{endpoint} refused access to {repository} ({status}): set HF_TOKEN to a token that may read it"
    if status == 429:
        return f"{endpoint} has reached its rate limit (429): wait a few minutes, or set HF_TOKEN for a higher limit"
    return f"{endpoint} failed ({status}) for {repository}: try again later; the same command resumes the download"
