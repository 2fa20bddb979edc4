"""A service that speaks the public API from memory, and misbehaves on request.

Runs in a thread of its own with a real socket, because streaming and disconnects cannot
be seen through an in-process transport. `python -m tests.ui.stand_in PORT [ANSWER SECONDS_PER_TOKEN]` runs
it alone.
"""

import asyncio
import contextlib
import json
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tests.asgi_server import served_aside
from tests.ui.runs import Run, follow, tokens_of, write

KEY = "sk-stand-in"
_caller: ContextVar[str] = ContextVar("caller", default=KEY)
REMAINING_S = {"asleep": 40.2, "loading": None}
REQUEST_ID = "req_stand_in"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Behaviour:
    """What a test may change at any time."""

    answer: str = "Hello there! I am a stand-in."
    token_delay_s: float = 0.0
    first_token_delay_s: float = 0.0
    comment: str = ""
    """What stands in a comment behind the first event."""
    hold_after: int | None = None
    """Send so many tokens, then wait for `go_on`."""
    held_model: str = ""
    """The only model that waits; all do if it is empty."""
    fail_status: int = 0
    fail_code: str = ""
    retry_after: str | None = None
    requests_left: int | None = None
    """So many generations are allowed; further ones are refused, for `retry_after` seconds."""
    fail_after: int | None = None
    """Send so many tokens, then fail the answer."""
    fail_reason: str = "internal_error"
    failing_request: int = 0
    """The only request that fails so, counted from 1; all do if it is 0."""
    cut_after: int | None = None
    """Send so many tokens, then end the stream, once, without an end of the answer, which goes on."""
    break_after: int | None = None
    """The same, with a broken connection."""
    from_cache: bool = False
    reasoning: str = ""
    sees: bool = False
    """Take images."""
    writes_titles: bool = True
    fallback: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    models: dict[str, str] = field(default_factory=lambda: {"guide": "ready"})
    models_delay_s: float = 0.0
    """Before the models are listed."""
    max_model_len: int = 2048
    share_delay_s: float = 0.0
    history_fails: bool = False
    is_away: bool = False
    """Break every stream and refuse every request, as something in front of a dead service does."""
    usage: bool = True
    title: str = "I give no titles."
    """What completions say, in answer to whatever is asked."""


@dataclass
class Seen:
    """What the service has noticed."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    completions: list[dict[str, Any]] = field(default_factory=list)
    tokens_sent: int = 0
    finished: int = 0
    cancelled: int = 0
    strangers: int = 0
    """Requests without a valid key or token."""
    disconnects: int = 0
    running: int = 0


class Refusal(Exception):
    """An error in OpenAI's shape."""

    def __init__(self, status: int, code: str, message: str = "", retry_after: str | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.retry_after = status, code, message or code, retry_after

    def body(self) -> dict[str, Any]:
        detail = {"message": self.message, "type": "x", "param": None, "code": self.code, "request_id": REQUEST_ID}
        return {"error": detail}


@dataclass
class User:
    """A person who signs in; `secret` is whose conversations are shown."""

    password: str
    name: str = "Ann Example"
    must_change: bool = False
    secret: str = "user_ann"


class StandIn:
    """The service, its store and its switches."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.runs: dict[str, Run] = {}
        self.reset()
        self.app = _routes(self)

    def reset(self) -> None:
        """Forget everything that was stored, told or seen; what is still being answered is cancelled."""
        for run in self.runs.values():
            if run.task is not None and not run.is_over and not (loop := run.task.get_loop()).is_closed():
                loop.call_soon_threadsafe(run.task.cancel)
        self.go_on.set()
        self.behaviour = Behaviour()
        self.seen = Seen()
        self.keys = {KEY: "Reader"}
        """Secrets and their names; each sees its own conversations."""
        self.users: dict[str, User] = {}
        """Users by their usernames."""
        self.tokens: dict[str, str] = {}
        """Tokens of sessions, and the secrets that they stand for."""
        self.devices: list[str] = []
        """What browsers have called themselves, one for each session that has begun."""
        self.refusal = "Incorrect API key provided."
        self.me: dict[str, Any] = {}
        self.conversations: dict[str, dict[str, Any]] = {}
        self.owners: dict[str, str] = {}
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.runs = {}
        self.shares: dict[str, dict[str, Any]] = {}
        self.go_on = threading.Event()
        self.started_at = time.time()

    def secret_of(self, request: Request) -> str:
        """Return the key of a request, or that for which its session stands."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self.tokens.get(given, given)

    def names(self) -> dict[str, str]:
        """Return the names of keys and users by their secrets."""
        return self.keys | {user.secret: user.name for user in self.users.values()}

    def add_conversation(self, title: str | None = None, age_s: float = 0.0, owner: str | None = None) -> str:
        now = time.time() - age_s
        conversation_id = f"conv_{uuid.uuid4().hex[:16]}"
        self.conversations[conversation_id] = {
            "id": conversation_id,
            "object": "conversation",
            "created_at": now,
            "updated_at": now,
            "metadata": {},
            "title": title,
        }
        self.items[conversation_id] = []
        self.owners[conversation_id] = owner or _caller.get()
        return conversation_id

    def add_message(
        self, conversation_id: str, role: str, text: str | list[dict[str, Any]], status: str = "completed", **extra: Any
    ) -> str:
        items = self.items[conversation_id]
        message_id = f"msg_{uuid.uuid4().hex[:16]}"
        kind = "output_text" if role == "assistant" else "input_text"
        parent = extra.get("parent", items[-1]["id"] if items else None) or None
        items.append(
            {
                "type": "message",
                "id": message_id,
                "parent_id": parent,
                "status": status,
                "role": role,
                "content": text if isinstance(text, list) else [{"type": kind, "text": text}],
                "created_at": time.time(),
            }
        )
        return message_id

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        if self.behaviour.history_fails:
            raise Refusal(503, "history_unavailable", retry_after="5")
        if self.owners.get(conversation_id) != _caller.get() or conversation_id not in self.conversations:
            raise Refusal(404, "not_found")
        return self.conversations[conversation_id]

    def run(self, response_id: str) -> Run:
        if response_id not in self.runs:
            raise Refusal(404, "not_found")
        return self.runs[response_id]

    @contextlib.contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        """Serve in a thread; yields the base URL. Always on 127.0.0.1."""
        with served_aside(self.app, port, timeout_graceful_shutdown=1, lifespan="off") as url:
            try:
                yield url
            finally:
                self.go_on.set()


def _reachable(api: StandIn) -> Callable[[], None]:
    def check() -> None:
        if api.behaviour.is_away:
            raise Refusal(502, "")

    return check


def _routes(api: StandIn) -> FastAPI:
    async def allowed(request: Request) -> None:
        key = api.secret_of(request)
        if key not in api.names():
            api.seen.strangers += 1
            raise Refusal(401, "invalid_api_key", api.refusal)
        _caller.set(key)

    app = FastAPI()
    private = APIRouter(dependencies=[Depends(_reachable(api)), Depends(allowed)])
    _add_conversations(private, api)
    _add_items(private, api)
    _add_models(private, api)
    _add_sessions(app, private, api)
    _add_responses(private, api)
    _add_shares(app, private, api)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        headers = {"x-request-id": REQUEST_ID}
        if refusal.retry_after:
            headers["Retry-After"] = refusal.retry_after
        return JSONResponse(refusal.body(), refusal.status, headers)

    @app.get("/ready")
    async def ready() -> Response:
        elapsed = round(time.time() - api.started_at, 1)
        models = [
            {"id": id_, "status": status, "elapsed_s": elapsed, "message": "", "remaining_s": REMAINING_S.get(status)}
            for id_, status in api.behaviour.models.items()
        ]
        is_ready = all(model["status"] in ("ready", "asleep") for model in models)
        body = {"status": "ready" if is_ready else "loading", "models": models}
        return JSONResponse(body, 200 if is_ready else 503, {} if is_ready else {"Retry-After": "1"})

    app.include_router(private)
    return app


def _add_sessions(public: FastAPI, private: APIRouter, api: StandIn) -> None:
    @public.post("/v1/auth/sessions", dependencies=[Depends(_reachable(api))])
    async def begin(request: Request) -> dict[str, Any]:
        body = json.loads(await request.body() or b"{}")
        secret = _signed_in(api, body) if body else api.secret_of(request)
        if secret not in api.names():
            raise Refusal(401, "invalid_api_key", api.refusal)
        token = f"st-chatllm-{secrets.token_urlsafe(32)}"
        api.tokens[token] = secret
        api.devices.append(request.headers.get("user-agent", ""))
        return {"token": token, "owner": f"key_{secret[-4:]}", "name": api.names()[secret]}

    @private.get("/v1/auth/sessions")
    async def sessions(request: Request) -> dict[str, Any]:
        given = request.headers["authorization"].removeprefix("Bearer ")
        mine = [token for token, secret in api.tokens.items() if secret == _caller.get()]
        shown = [
            {"id": f"session_{token[-8:]}", "device": FIREFOX, "current": token == given, "used_at": 1_700_000_000}
            for token in reversed(mine)
        ]
        return {"object": "list", "data": shown}

    @private.delete("/v1/auth/sessions/{session_id}")
    async def end(session_id: str, request: Request) -> dict[str, Any]:
        given = request.headers["authorization"].removeprefix("Bearer ")
        ended = [token for token in api.tokens if token.endswith(session_id.removeprefix("session_"))]
        for token in [given] if session_id == "current" else ended:
            del api.tokens[token]
        return {"deleted": True}


def _signed_in(api: StandIn, body: dict[str, str]) -> str:
    """Return the secret of a user who signs in."""
    user = api.users.get(body["username"])
    if user is None or user.password != body["password"]:
        raise Refusal(401, "sign_in_failed", "The username or the password is wrong.")
    if "new_password" in body:
        if len(body["new_password"]) < 10:
            raise Refusal(400, "invalid_request", "A password has 10 to 256 characters.")
        user.password, user.must_change = body["new_password"], False
    elif user.must_change:
        raise Refusal(403, "password_change_required", "This password must be changed.")
    return user.secret


def _add_conversations(app: APIRouter, api: StandIn) -> None:
    @app.get("/v1/conversations")
    async def list_conversations(limit: int = 20, after: str | None = None) -> dict[str, Any]:
        if api.behaviour.history_fails:
            raise Refusal(503, "history_unavailable")
        mine = [known for id_, known in api.conversations.items() if api.owners[id_] == _caller.get()]
        return _page(sorted(mine, key=lambda c: -c["updated_at"]), limit, after)

    @app.post("/v1/conversations")
    async def create(request: Request) -> dict[str, Any]:
        body = await request.json()
        if api.behaviour.history_fails:
            raise Refusal(503, "history_unavailable", retry_after="5")
        created = api.conversations[api.add_conversation(body.get("title"))]
        created["metadata"] = body.get("metadata") or {}
        for item in body.get("items") or []:
            api.add_message(created["id"], item["role"], item["content"])
        return created

    @app.get("/v1/conversations/search")
    async def search(q: str, limit: int = 20) -> dict[str, Any]:
        found = [
            _found(api, id_, item["content"][0].get("text", ""), q)
            for id_, items in api.items.items()
            for item in items
            if api.owners[id_] == _caller.get() and q.lower() in item["content"][0].get("text", "").lower()
        ]
        return {"object": "list", "data": found[:limit], "has_more": False}

    @app.get("/v1/conversations/{conversation_id}")
    async def retrieve(conversation_id: str, response: Response) -> dict[str, Any]:
        conversation = api.conversation(conversation_id)
        response.headers["etag"] = version(conversation)
        return conversation

    @app.post("/v1/conversations/{conversation_id}")
    async def update(conversation_id: str, request: Request) -> Any:
        return await _updated(api.conversation(conversation_id), request)

    @app.delete("/v1/conversations/{conversation_id}")
    async def delete(conversation_id: str) -> dict[str, Any]:
        api.conversation(conversation_id)
        del api.conversations[conversation_id], api.items[conversation_id]
        return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


async def _updated(conversation: dict[str, Any], request: Request) -> Any:
    body = await request.json()  # before the comparison: nothing may come between it and the update
    if request.headers.get("if-match", "*") not in ("*", version(conversation)):
        return JSONResponse({"error": {"code": "precondition_failed", "message": "It has changed."}}, 412)
    conversation.update({k: v for k, v in body.items() if k in ("title", "metadata")})
    return conversation


def version(conversation: dict[str, Any]) -> str:
    """Return the `ETag` of a conversation as it is now."""
    return f'"{hash(json.dumps([conversation["metadata"], conversation.get("title")], sort_keys=True)):x}"'


def _add_items(app: APIRouter, api: StandIn) -> None:
    @app.post("/v1/conversations/{conversation_id}/items")
    async def add(conversation_id: str, request: Request) -> dict[str, Any]:
        body = await request.json()
        api.conversation(conversation_id)
        extra = {"parent": body["parent"]} if "parent" in body else {}
        for item in body["items"]:
            api.add_message(conversation_id, item["role"], item["content"], **extra)
            extra = {}
        return {"object": "list", "data": api.items[conversation_id][-len(body["items"]) :], "has_more": False}

    @app.get("/v1/conversations/{conversation_id}/items")
    async def items(
        conversation_id: str, limit: int = 20, order: str = "desc", after: str | None = None
    ) -> dict[str, Any]:
        api.conversation(conversation_id)
        stored = api.items[conversation_id]
        return _page(stored if order == "asc" else stored[::-1], limit, after)


def _add_models(app: APIRouter, api: StandIn) -> None:
    @app.get("/v1/me")
    async def me() -> dict[str, Any]:
        if api.behaviour.history_fails:
            raise Refusal(503, "history_unavailable")
        key = _caller.get()
        username = next((name for name, user in api.users.items() if user.secret == key), None)
        own = {"id": f"key_{key[-4:]}", "name": api.names()[key], "username": username}
        return {**own, "last4": "" if username else key[-4:], **api.me}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        await asyncio.sleep(api.behaviour.models_delay_s)
        modalities = ["text", "image"] if api.behaviour.sees else ["text"]
        shown = [
            {
                "id": id_,
                "object": "model",
                "input_modalities": modalities,
                "output_modalities": ["embeddings"] if id_.startswith("embedding") else ["text"],
                "max_model_len": api.behaviour.max_model_len,
                "writes_titles": api.behaviour.writes_titles,
                "fallback": api.behaviour.fallback.get(id_, []),
            }
            for id_ in api.behaviour.models
        ]
        return {"object": "list", "data": shown}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> dict[str, Any]:
        _count(api)
        api.seen.completions.append(await request.json())
        message = {"role": "assistant", "content": api.behaviour.title}
        return {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    @app.post("/v1/tokenize")
    async def tokenize(request: Request) -> dict[str, Any]:
        count = len(tokens_of((await request.json())["prompt"]))
        return {"count": count, "max_model_len": api.behaviour.max_model_len, "tokens": []}


def _add_responses(app: APIRouter, api: StandIn) -> None:
    @app.post("/v1/responses")
    async def respond(request: Request) -> Response:
        body = await request.json()
        api.seen.requests.append(body)
        behaviour = api.behaviour
        _count(api)
        if behaviour.fail_status:
            raise Refusal(behaviour.fail_status, behaviour.fail_code, retry_after=behaviour.retry_after)
        if body["model"] not in behaviour.models:
            raise Refusal(404, "model_not_found")
        run = api.runs.setdefault((made := Run(body, len(api.runs) + 1)).id, made)
        conversation_id = body["conversation"]
        api.conversation(conversation_id)["updated_at"] = time.time()
        extra = {"parent": body["parent"]} if "parent" in body else {}
        for message in body["input"]:
            run.asked.append(api.add_message(conversation_id, message["role"], message["content"], **extra))
            extra = {}
        run.task = asyncio.create_task(write(api, run))
        return _events(api, run, -1)

    @app.get("/v1/responses/{response_id}")
    async def retrieve(response_id: str, stream: bool = False, starting_after: int = -1) -> Response:
        run = api.run(response_id)
        return _events(api, run, starting_after) if stream else JSONResponse(run.shown())

    @app.post("/v1/responses/{response_id}/cancel")
    async def cancel(response_id: str) -> dict[str, Any]:
        run = api.run(response_id)
        if run.task is not None and not run.is_over:
            run.task.cancel()
        return run.shown() | {"status": "cancelled"}

    @app.get("/v1/responses/{response_id}/input_items")
    async def asked(response_id: str) -> dict[str, Any]:
        run = api.run(response_id)
        return _page([item for item in api.items[run.body["conversation"]] if item["id"] in run.asked], 100, None)

    @app.get("/v1/conversations/{conversation_id}/responses")
    async def running(conversation_id: str) -> dict[str, Any]:
        api.conversation(conversation_id)
        found = [run for run in api.runs.values() if run.body["conversation"] == conversation_id and not run.is_over]
        return {"object": "list", "data": [run.shown() for run in found[::-1]]}


def _count(api: StandIn) -> None:
    behaviour = api.behaviour
    if behaviour.requests_left is None:
        return
    if behaviour.requests_left == 0:
        raise Refusal(429, "rate_limit_exceeded", "Limit: 2 requests per minute.", behaviour.retry_after)
    behaviour.requests_left -= 1


def _events(api: StandIn, run: Run, after: int) -> Response:
    headers = {"x-request-id": REQUEST_ID}
    return StreamingResponse(follow(api, run, after), media_type="text/event-stream", headers=headers)


def _add_shares(public: FastAPI, app: APIRouter, api: StandIn) -> None:
    path = "/v1/conversations/{conversation_id}/shares"

    @app.post(path)
    async def share(conversation_id: str, request: Request) -> dict[str, Any]:
        asked, title = await request.json(), api.conversation(conversation_id)["title"]
        said = api.items[conversation_id]
        if "until" in asked:
            said = said[: [item["id"] for item in said].index(asked["until"]) + 1]
        messages = [{"role": item["role"], "text": item["content"][0]["text"], "left_out": 0} for item in said]
        made = {"id": f"share_{len(api.shares)}", "created_at": int(time.time()), "expires_at": asked.get("expires_at")}
        shown = {"title": title, "created_at": made["created_at"], "messages": messages, "is_cut": False}
        token = uuid.uuid4().hex + "abcdefghijk"
        api.shares[token] = {"conversation": conversation_id, "share": made, "shown": shown}
        return {**made, "token": token}

    @app.get(path)
    async def shares(conversation_id: str) -> dict[str, Any]:
        api.conversation(conversation_id)
        mine = [kept["share"] for kept in api.shares.values() if kept["conversation"] == conversation_id]
        return {"object": "list", "data": mine[::-1]}

    @app.delete(f"{path}/{{share_id}}")
    async def revoke(conversation_id: str, share_id: str) -> dict[str, Any]:
        api.conversation(conversation_id)
        api.shares = {token: kept for token, kept in api.shares.items() if kept["share"]["id"] != share_id}
        return {"id": share_id, "object": "conversation.share.deleted", "deleted": True}

    @public.get("/v1/shares/{token}")
    async def read(token: str) -> dict[str, Any]:
        await asyncio.sleep(api.behaviour.share_delay_s)
        if token not in api.shares:
            raise Refusal(404, "not_found")
        return api.shares[token]["shown"]


def _found(api: StandIn, conversation_id: str, text: str, typed: str) -> dict[str, Any]:
    at = text.lower().index(typed.lower())
    cut = [(text[:at], False), (text[at : at + len(typed)], True), (text[at + len(typed) :], False)]
    snippet = [{"text": piece, "match": is_match} for piece, is_match in cut]
    return {"conversation": api.conversations[conversation_id], "snippet": snippet}


def _page(data: list[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    begin = next((index + 1 for index, item in enumerate(data) if item["id"] == after), 0)
    shown = data[begin : begin + limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, "has_more": begin + limit < len(data), **ends}


if __name__ == "__main__":
    alone = StandIn()
    if len(sys.argv) > 2:
        alone.behaviour.answer, alone.behaviour.token_delay_s = sys.argv[2], float(sys.argv[3])
    with alone.served(int(sys.argv[1])):
        threading.Event().wait()
