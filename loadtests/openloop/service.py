"""What is known of the service before the load: whether it answers, its key, its models, its tokens per word."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtests.bare_vllm import NotStarted
from loadtests.openloop.options import REPOSITORY, Options
from loadtests.openloop.workload import WORDS

TIMEOUT_S = 120.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORT, LONG = 20, 420
"""Words of the two prompts by which tokens are told from words."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that answers."""

    url: str
    key: str = field(repr=False)
    models: tuple[str, ...]
    tokens_per_word: float
    dashboard: str
    token: str = field(repr=False)


def state_folder() -> Path:
    """Return the folder in which the service of this machine keeps key, token and addresses."""
    return Path(os.environ.get("CHATLLM_STATE") or REPOSITORY / ".chatllm")


def api_key(url: str) -> str:
    """Return the API key, that of this machine for a service of this machine alone: it has no limits.

    Raises NotStarted where another machine's is not given.
    """
    if key := os.environ.get("CHATLLM_API_KEY"):
        return key
    if not is_local(url):
        raise NotStarted(f"--url: {url} is another machine: set CHATLLM_API_KEY to a key that its service knows")
    return _content(state_folder() / "api.key")


def ray_token(url: str, dashboard: str) -> str:
    """Return Ray's token: RAY_AUTH_TOKEN, else this machine's, where service and dashboard are of this machine."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    return _content(state_folder() / "ray.token") if is_local(url) and is_local(dashboard) else ""


def is_local(url: str) -> bool:
    """Whether an address is one of this machine."""
    return urlsplit(url).hostname in LOOPBACK


def found(options: Options) -> Service:
    """Ask the service what it has, and each model for an answer; raises NotStarted with the remedy."""
    key = api_key(options.url)
    names = [one["id"] for one in _response(options.url, "/v1/models", key)["data"]]
    models = options.models or tuple(names[:1])
    if unknown := [model for model in models if model not in names]:
        raise NotStarted(f"--model: {options.url} has no {unknown[0]!r}: it has {', '.join(names) or 'none'}")
    per_word = sum(_tokens_per_word(options.url, key, model) for model in models) / len(models)
    dashboard = options.dashboard or _dashboard(options.url)
    return Service(options.url, key, models, per_word, dashboard, ray_token(options.url, dashboard))


def _tokens_per_word(url: str, key: str, model: str) -> float:
    """Return how many tokens one of our words takes on average, by what the model counts of two prompts."""
    counted = [_prompt_tokens(url, key, model, length) for length in (SHORT, LONG)]
    return max(0.1, (counted[1] - counted[0]) / (LONG - SHORT))


def _prompt_tokens(url: str, key: str, model: str, words: int) -> int:
    text = " ".join(WORDS[n % len(WORDS)] for n in range(words))
    content = f"({time.time_ns()}) {text}"
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 2, "temperature": 0}
    return int(_response(url, "/v1/chat/completions", key, body)["usage"]["prompt_tokens"])


def _response(url: str, path: str, key: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(  # noqa: S310  http(s) alone, as the options have checked
        url + path, json.dumps(body).encode() if body else None, headers
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise NotStarted(f"{url}{path}: {_refusal(error)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotStarted(
            f"--url: {url} does not answer ({reason}): start the service with `make serve`, or name another one"
        ) from None


def _refusal(error: urllib.error.HTTPError) -> str:
    if error.code == 401:
        return "the key was rejected (401): set CHATLLM_API_KEY to one that `chatllm keys create` has printed"
    try:
        return f"{error.code}, {json.loads(error.read())['error']['message']}"
    except (ValueError, LookupError, TypeError):
        return f"status {error.code}"


def _dashboard(url: str) -> str:
    """Return the address of Ray's dashboard if the service of this machine is the one that is measured, else ""."""
    if not is_local(url):
        return ""
    try:
        record = json.loads(_content(state_folder() / "instance.json"))
    except ValueError:
        return ""
    return f"http://127.0.0.1:{record['dashboard_port']}" if urlsplit(url).port == record["port"] else ""


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
