"""A small server that speaks the protocol of the Hugging Face hub, with the faults that tests ask for."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = 1024
"""From this size on a file is kept in large file storage, as model weights are."""


@dataclass(frozen=True)
class HubRequest:
    """A request that arrived."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Repository:
    """A model on the hub. `needs` is the token without which it is not shown, `is_gated` whether for its terms."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    needs: str = ""
    is_gated: bool = False

    def may(self, token: str | None) -> bool:
        """Whether a request with this token sees the files."""
        return not self.needs or token == f"Bearer {self.needs}"


@dataclass
class Hub:
    """The server's content and faults."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[HubRequest] = field(default_factory=list)
    url: str = ""
    cut_after: list[int] = field(default_factory=list)
    """After how many bytes the next answers from storage end, each once."""
    stalls_after: int | None = None
    """After how many bytes answers from storage stop, the connection open."""
    corrupts: bool = False
    adds: bytes = b""
    """What storage sends beyond a file's end."""
    ignores_range: bool = False
    status: int = 0
    """Answered to everything instead, if set."""

    def ranges(self) -> list[str | None]:
        """What was asked of storage, in order."""
        return [one.range for one in self.asked if one.path.startswith("/storage/")]


@contextmanager
def running_hub() -> Generator[Hub]:
    """Run one on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


Answer = Callable[[Repository, re.Match[str], str | None], None]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        return

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        token = self.headers.get("Authorization")
        self.hub.asked.append(HubRequest(self.command, path, self.headers.get("Range"), token))
        if self.hub.status:
            return self._send(self.hub.status, b"")
        if path.startswith("/storage/"):
            return self._content(path.removeprefix("/storage/"))
        for pattern, answer in (
            (r"/api/models/([\w.-]+/[\w.-]+)/revision/([^/]+)", self._info),
            (r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if match := re.fullmatch(pattern, path):
                return self._about(match, token, answer)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _about(self, match: re.Match[str], token: str | None, answer: Answer) -> None:
        repository = self.hub.repositories.get(match[1])
        if repository is None or (not repository.is_gated and not repository.may(token)):
            return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if match[2] not in ("main", repository.commit):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return answer(repository, match, token)

    def _info(self, repository: Repository, match: re.Match[str], token: str | None) -> None:
        siblings = [{"rfilename": name, "size": len(content)} for name, content in repository.files.items()]
        body = {"id": match[1], "modelId": match[1], "sha": repository.commit, "siblings": siblings, "tags": []}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repository: Repository, match: re.Match[str], token: str | None) -> None:
        if not repository.may(token):
            return self._send(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        content = repository.files.get(match[3])
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": repository.commit}
        if len(content) < LARGE:
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._send(200, content, {**headers, "ETag": f'"{etag}"'})
        digest = hashlib.sha256(content).hexdigest()
        # Storage is another host, which must not get the token.
        location = self.hub.url.replace("127.0.0.1", "localhost") + f"/storage/{digest}"
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "Location": location}
        return self._send(302, b"", {**headers, **linked})

    def _content(self, digest: str) -> None:
        contents = (content for one in self.hub.repositories.values() for content in one.files.values())
        content = next(content for content in contents if hashlib.sha256(content).hexdigest() == digest)
        content += self.hub.adds
        if self.hub.corrupts:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start and not self.hub.ignores_range:
            first = int(start[1])
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return self._send(206, content[first:], {"Content-Range": span}, cuts=True)
        return self._send(200, content, cuts=True)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cuts: bool = False) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cuts and self.hub.stalls_after is not None:
            self.wfile.write(body[: self.hub.stalls_after])
            self.rfile.read(1)  # until the client goes away
            return
        if cuts and self.hub.cut_after:
            body = body[: self.hub.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
