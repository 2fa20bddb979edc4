"""Images, audio and video of a chat: where they may come from.

A URL in a request makes this service open a connection that the client chose, from
inside the operator's network. So remote media is off unless the model's
configuration names hosts (`allowed_media_domains`). vLLM itself fetches nothing:
the replica does, within bounds (`vllm/media_fetch.py`).
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from deployments.errors import BadRequest

MAX_FETCHED = 16
"""URLs of one request that are fetched."""
MAX_URL_CHARACTERS = 4096
PARTS = ("image_url", "audio_url", "video_url")


def check_media(messages: Sequence[Mapping[str, Any]], domains: Collection[str]) -> None:
    """Raise BadRequest, naming the part, for media that is neither in the message nor at one of the `domains`.

    Only what is asked about now counts; what was said before must not end the conversation.
    """
    remote = 0
    for part, place in media_parts(messages, newest_question(messages)):
        url = url_of(part, place)
        if url[:5].lower() != "data:":
            checked_url(url, domains, place)
            remote += 1
    if remote > MAX_FETCHED:
        raise BadRequest(f"A request may refer to at most {MAX_FETCHED} remote files.", "messages")


def newest_question(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the index of the user's last message, 0 if there is none."""
    return max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=0)


def media_parts(
    messages: Sequence[Mapping[str, Any]], first: int = 0, stop: int | None = None
) -> Generator[tuple[dict[str, Any], str]]:
    """Yield the parts that hold a URL, each with its place, of the messages from `first` on and before `stop`."""
    for at in range(first, len(messages) if stop is None else stop):
        message = messages[at]
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for position, part in enumerate(cast("list[Any]", content)):
            kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else None
            if kind in PARTS:
                yield part, f"messages[{at}].content[{position}].{kind}"


def url_of(part: Mapping[str, Any], place: str) -> str:
    value = part.get(str(part["type"]))
    url = cast("dict[str, Any]", value).get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise BadRequest(f"'{place}' must hold a 'url'.", place)
    return url


def checked_url(url: str, domains: Collection[str], place: str) -> SplitResult:
    """Return the parts of a URL that may be fetched; raises BadRequest for any other."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        raise BadRequest(f"'{place}' is not a URL.", place) from None
    if parts.scheme not in ("http", "https"):
        raise BadRequest(f"'{place}' must be a 'data:' URL, or one of http or https.", place)
    if len(url) > MAX_URL_CHARACTERS or not host or parts.username is not None:
        raise BadRequest(f"'{place}' is not a URL that can be fetched.", place)
    if host not in domains:
        allowed = f"only files of {', '.join(sorted(domains))} are" if domains else "no remote files are"
        raise BadRequest(f"'{place}': {allowed} fetched here. Send the file itself, as a 'data:' URL.", place)
    return parts
