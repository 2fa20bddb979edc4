"""Serve's REST API of a cluster, at the address of Ray's dashboard: what is deployed, and deploying something else."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.local.service_document import Tree
from deployments.local.state import LauncherError

APPLICATIONS = "/api/serve/applications/"
TIMEOUT_S = 30.0
PUT_TIMEOUT_S = 60.0
FIRST_ANSWER_S = 60.0
"""Ray's dashboard is the last that starts."""
PAUSE_S = 0.5


class Unreachable(Exception):
    """The dashboard or Serve's controller does not answer now."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What Serve tells of itself at one moment: `document` is the file by which it would be deployed again."""

    document: Tree
    applications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """By their names: `status`, `message` and `deployments` as Serve's REST API has them."""


class Cluster:
    """One cluster; every method may be called again after it failed."""

    def __init__(self, address: str, token: str) -> None:
        """`token` is that of `RAY_AUTH_MODE=token`, or empty; LauncherError for what is no address."""
        self.address = address.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        try:
            url = httpx.URL(self.address)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise LauncherError(f"{address!r} is not the address of a dashboard: give one such as http://head:8265")
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def first(self) -> Deployed:
        """Return what is deployed; waits a minute for a dashboard that starts. LauncherError if it does not answer."""
        end = time.monotonic() + FIRST_ANSWER_S
        while True:
            try:
                return self.read()
            except Unreachable as error:
                if time.monotonic() > end:
                    raise LauncherError(f"Ray's dashboard at {self.address} does not answer: {error}") from None
            time.sleep(PAUSE_S)

    def read(self) -> Deployed:
        """Return what is deployed now; raises Unreachable, and LauncherError where it will never be told."""
        answer = self._answer("GET", None, TIMEOUT_S)
        if answer.status_code in (401, 403):
            raise LauncherError(f"{self.address} refuses the token of Ray (RAY_AUTH_TOKEN)")
        if answer.status_code != 200:
            raise Unreachable(f"status {answer.status_code}")
        return _deployed(answer.json())

    def put(self, document: Tree) -> None:
        """Deploy a document; LauncherError if Serve refuses it, Unreachable if it is not known whether it has it."""
        answer = self._answer("PUT", document, PUT_TIMEOUT_S)
        if answer.status_code == 400:
            raise LauncherError(f"Serve refuses the file: {' '.join(answer.text.split())[:600]}")
        if answer.status_code != 200:
            raise Unreachable(f"status {answer.status_code}")

    def _answer(self, method: str, body: Tree | None, timeout_s: float) -> httpx.Response:
        try:
            return self._http.request(method, APPLICATIONS, json=body, timeout=timeout_s)
        except httpx.TransportError as error:
            raise Unreachable(str(error) or type(error).__name__) from None


def _deployed(details: Tree) -> Deployed:
    applications: Mapping[str, Tree] = details.get("applications") or {}
    configured = [one["deployed_app_config"] for one in applications.values() if one.get("deployed_app_config")]
    kept = {name: details[name] for name in ("proxy_location", "http_options", "grpc_options") if details.get(name)}
    if details.get("target_capacity") is not None:
        kept["target_capacity"] = details["target_capacity"]
    return Deployed({**kept, "applications": configured}, applications)


def token_of_environment() -> str:
    """Return Ray's token as its own commands find it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray/auth_token")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
