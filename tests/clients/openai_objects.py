"""Runs in pytest beside the OpenAI SDK's own tests: their requests go to the service, about objects that exist.

Those tests are generated from OpenAI's specification for a server that invents its
answers: they name objects such as `conv_123`, delete them, and give every parameter
at once. Here each test has new objects. `NOT_ASKED` are the parameters that OpenAI's
own API would refuse together, or that no model here has; `NOT_RUN` the tests whose
answer is a clear refusal, or that OpenAI's own API would fail.
"""

import json
import os
import re
import urllib.request
from collections.abc import Mapping
from typing import Any

import openai
import pytest

URL, KEY = os.environ["CHATLLM_URL"], os.environ["CHATLLM_KEY"]
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
HELLO = {"messages": [{"role": "user", "content": "hello"}], "store": True, "metadata": {"topic": "greeting"}}

NOT_ASKED: Mapping[str, Mapping[str, str]] = {
    "/chat/completions": {
        "audio": "answers are text",
        "functions": "exclude 'tools', as the older name",
        "function_call": "as 'functions'",
        "logit_bias": "'foo' is no token id",
        "max_tokens": "0, below OpenAI's own minimum",
        "max_completion_tokens": "0, below OpenAI's own minimum",
        "moderation": "nothing is moderated",
        "stream_options": "OpenAI's own API refuses them without 'stream'",
        "web_search_options": "there is no web search",
    },
    "/completions": {
        "best_of": "0, fewer than 'n'",
        "logit_bias": "'foo' is no token id",
        "stream_options": "OpenAI's own API refuses them without 'stream'",
        "suffix": "the model cannot insert",
    },
    "/embeddings": {"dimensions": "the model has its own"},
    "/responses": {
        "access_programs": "there are none",
        "moderation": "nothing is moderated",
        "previous_response_id": "excludes 'conversation' in OpenAI's own API",
        "prompt": "there are no prompt templates",
    },
    "/responses/input_tokens": {"previous_response_id": "excludes 'conversation' in OpenAI's own API"},
}

NOT_RUN: Mapping[str, str] = {
    r"test_models.*_delete": "models are not deleted",
    r"test_responses.*_compact": "a 501 says that no conversation is compacted",
    r"test_messages.*_list": "the SDK's type knows no role but the assistant's",
    r"test_embeddings.*_create\[strict\]|test_embeddings.*_create\[aiohttp\]": "the SDK asks for base64 by itself",
}
IN_BACKGROUND = re.compile("cancel|retrieve_overload_2|retrieve_with_all_params_overload_2")
"""Tests about a response that runs in the background; one can be cancelled, or streamed again."""

names: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for pattern, reason in NOT_RUN.items():
            if re.search(pattern, item.nodeid) and "path_params" not in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fresh_objects(request: pytest.FixtureRequest) -> None:
    """Make what the test may name."""
    item = {"type": "message", "role": "user", "content": "hello"}
    conversation = call("/v1/conversations", {"items": [item]})["id"]
    background = {"background": True} if IN_BACKGROUND.search(request.node.name) else {}
    response = call("/v1/responses", {"input": "hello", **background})["id"]
    names.update(
        conv_123=conversation,
        msg_abc=call(f"/v1/conversations/{conversation}/items")["data"][0]["id"],
        completion_id=call("/v1/chat/completions", HELLO)["id"],
    )
    names.update(dict.fromkeys(("response_id", "resp_677efb5139a88190b512bc3fef8e535d"), response))


def call(path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + path, data, HEADERS), timeout=30) as answer:
        return json.load(answer)


def prepared(options: Any) -> Any:
    """Return a request with the names of objects that exist, and without what is not asked for."""
    # A limit of 0 is below OpenAI's own minimum, and nothing has the id "after".
    pages = {"limit": 0, "after": "after"}
    options.params = {name: value for name, value in options.params.items() if pages.get(name) != value}
    options.headers = {**(options.headers or {}), "Authorization": f"Bearer {KEY}"}
    body = options.json_data
    if isinstance(body, dict):
        left_out = NOT_ASKED.get(options.url, {})
        kept = {name: names.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
        options.json_data = {name: value for name, value in kept.items() if name not in left_out}
        if options.url == "/responses":
            options.json_data.setdefault("input", "hello")
        if options.json_data.get("conversation") == "string":
            options.json_data["conversation"] = names["conv_123"]
    options.url = "/".join(names.get(part, part) for part in options.url.split("/"))
    return options


def redirect() -> None:
    """Have both clients prepare their requests so."""
    prepare, prepare_async = openai.OpenAI._prepare_options, openai.AsyncOpenAI._prepare_options

    async def ours_async(self: Any, options: Any) -> Any:
        return prepared(await prepare_async(self, options))

    openai.OpenAI._prepare_options = lambda self, options: prepared(prepare(self, options))  # type: ignore[method-assign]
    openai.AsyncOpenAI._prepare_options = ours_async  # type: ignore[method-assign]


redirect()
