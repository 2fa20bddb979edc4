"""OpenAI's own client against the product."""

import asyncio
import json
import time
from collections.abc import Generator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from loadtests.streams import hops_in
from tests.launched import Launched
from tests.leaving import leave

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ASK = [{"role": "user", "content": "What is ChatLLM?"}]
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
NOT_CACHED = {"cache-control": "no-store"}
LONG = {"model": "guide", "messages": ASK, "max_tokens": 1500, "stream": True, "temperature": 1}


CLIENTS: list[openai.OpenAI] = []


def client(product: Launched, **options: Any) -> openai.OpenAI:
    CLIENTS.append(openai.OpenAI(base_url=f"{product.url}/v1", api_key=product.key, max_retries=0, **options))
    return CLIENTS[-1]


@pytest.fixture(autouse=True)
def close_clients() -> Generator[None]:
    """Close the sockets of each test: one that is collected later would fail another test."""
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def test_models_a_chat_and_a_streamed_chat(product: Launched) -> None:
    api = client(product)
    assert [model.id for model in api.models.list()] == ["guide"]
    assert api.models.retrieve("guide").id == "guide"
    answer = api.chat.completions.create(model="guide", messages=ASK, temperature=0)
    assert "ChatLLM" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and answer.usage.completion_tokens > 5
    chunks = list(
        api.chat.completions.create(
            model="guide", messages=ASK, temperature=0.01, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 5
    assert len(chunks) > 5
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_the_same_request_again_is_a_hit_with_equal_text(product: Launched) -> None:
    api = client(product)
    request: dict[str, Any] = {"model": "guide", "messages": [{"role": "user", "content": "hello!"}], "temperature": 0}
    first = api.chat.completions.with_raw_response.create(**request)
    time.sleep(1.5)
    again = api.chat.completions.with_raw_response.create(**request)
    streamed = api.chat.completions.create(**request, stream=True)
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
    assert int(again.headers["age"]) >= 1
    text = first.parse().choices[0].message.content
    assert again.parse().choices[0].message.content == text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text


def test_tools_structured_output_and_logprobs_pass_through(product: Launched) -> None:
    api = client(product)
    parameters = {"type": "object", "properties": {"city": {"enum": ["Rome", "Bonn"]}}, "required": ["city"]}
    called = api.chat.completions.create(
        model="guide",
        messages=ASK,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        temperature=2,  # at a low one so small a model loses itself in the blanks that JSON allows
        max_tokens=400,
    )
    calls = called.choices[0].message.tool_calls
    assert calls and calls[0].type == "function"
    assert json.loads(calls[0].function.arguments)["city"] in ("Rome", "Bonn")
    # A schema without objects and lists allows no blanks, in which so small a model would lose itself.
    structured = api.chat.completions.create(
        model="guide",
        messages=ASK,
        temperature=1,
        max_tokens=20,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": {"enum": ["Rome", "Bonn"]}}},
    )
    assert structured.choices[0].finish_reason == "stop"
    assert json.loads(structured.choices[0].message.content or "") in ("Rome", "Bonn")
    fitting = api.chat.completions.create(
        model="guide", messages=ASK, extra_body={"structured_outputs": {"regex": '\\{"ok":(true|false)\\}'}}
    )
    assert json.loads(fitting.choices[0].message.content or "")["ok"] in (True, False)
    logprobs = api.chat.completions.create(model="guide", messages=ASK, max_tokens=3, logprobs=True, top_logprobs=2)
    assert logprobs.choices[0].logprobs and len(logprobs.choices[0].logprobs.content or []) == 3


def test_every_answer_is_of_the_clients_types(product: Launched) -> None:
    api = client(product, _strict_response_validation=True)
    choices = api.chat.completions.create(
        model="guide", messages=ASK, n=2, temperature=1, stop=["."], frequency_penalty=1, logit_bias={"5": -100}
    ).choices
    assert len(choices) == 2 and not any("." in (choice.message.content or "") for choice in choices)
    streamed = api.chat.completions.create(
        model="guide", messages=ASK, max_completion_tokens=4, logprobs=True, stream=True, user="someone"
    )
    assert sum(len(c.choices[0].logprobs.content or []) for c in streamed if c.choices[0].logprobs) == 4
    continued = api.completions.create(model="guide", prompt=["ChatLLM is", "Hello"], max_tokens=4, logprobs=1, seed=1)
    assert [choice.logprobs and len(choice.logprobs.tokens or []) for choice in continued.choices] == [4, 4]
    pieces = client(product).completions.create(
        model="guide", prompt=["ChatLLM is", "Hello"], max_tokens=4, temperature=0, stream=True
    )
    texts = ["", ""]
    for piece in pieces:
        texts[piece.choices[0].index] += piece.choices[0].text
    greedy = api.completions.create(model="guide", prompt=["ChatLLM is", "Hello"], max_tokens=4, temperature=0)
    assert [choice.text for choice in greedy.choices] == texts


def test_greedy_decoding_as_openai_allows_it(product: Launched) -> None:
    api = client(product, _strict_response_validation=True)
    ask: dict[str, Any] = {"model": "guide", "messages": ASK, "max_tokens": 12}
    one = api.chat.completions.create(**ask, temperature=0)
    text, usage = one.choices[0].message.content, one.usage
    assert usage
    several = api.chat.completions.create(**ask, temperature=0, n=3)
    assert [(choice.index, choice.message.content) for choice in several.choices] == [(n, text) for n in range(3)]
    assert several.usage and several.usage.completion_tokens == 3 * usage.completion_tokens
    streamed = ["", ""]
    for chunk in api.chat.completions.create(**ask, temperature=0, n=2, stream=True, extra_headers=NOT_CACHED):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == [text, text]
    narrow = api.chat.completions.create(**ask, top_p=0)
    assert narrow.choices[0].message.content == text
    pair = api.completions.create(model="guide", prompt=["ChatLLM is", "Hello"], max_tokens=4, temperature=0, n=2)
    first, again, second, once_more = (choice.text for choice in pair.choices)
    assert (first, second) == (again, once_more) and first != second


def test_responses_take_vllms_sampling_as_chats_do(product: Launched) -> None:
    more: Any = {"ignore_eos": True, "min_p": 0.1, "top_k": 20, "repetition_penalty": 1.1, "bad_words": ["never"]}
    answer = client(product).responses.create(model="guide", input="Hi", max_output_tokens=100, extra_body=more)
    assert answer.usage and answer.usage.output_tokens == 100, "it went on behind its end"


def test_responses_of_the_real_model(product: Launched) -> None:
    api = client(product, _strict_response_validation=True)
    first = api.responses.create(model="guide", input="What is ChatLLM?", temperature=0, instructions="Be brief.")
    assert first.status == "completed" and "ChatLLM" in first.output_text
    assert first.usage and first.usage.output_tokens > 5
    ask: Any = {"model": "guide", "input": "Hello!", "previous_response_id": first.id, "tools": [WEATHER]}
    counted = api.responses.input_tokens.count(**ask).input_tokens
    told = api.responses.create(**ask, max_output_tokens=1).usage
    assert told and told.input_tokens == counted
    events = list(api.responses.create(model="guide", input="Hello!", previous_response_id=first.id, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    answer = events[-1].response
    assert "".join(pieces) == answer.output_text != ""
    assert answer.usage and answer.usage.input_tokens > first.usage.output_tokens, "it read what was said before"
    assert api.responses.retrieve(answer.id).output_text == answer.output_text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_tells_where_its_time_went_by_the_engines_own_clock(product: Launched, stream: bool) -> None:
    asked = [{"role": "user", "content": f"{stream}: what is ChatLLM?"}]
    body = {"messages": asked, "max_tokens": 40, "stream": stream}
    async with product.client() as http:
        for _ in range(2):  # the first may be the first of all
            began = time.perf_counter()
            answer = await http.post("/v1/chat/completions", json=body, headers={"x-server-timing": "trailer"})
            took_ms = (time.perf_counter() - began) * 1e3
    told = answer.text.rpartition(": server-timing ")[2] if stream else answer.headers["server-timing"]
    hops = hops_in(told.strip())
    assert hops["prefill"] > 0 and hops["decode"] > 0 and hops["queue"] >= 0
    assert 0.8 * took_ms < hops.pop("total") <= took_ms
    assert hops["prefill"] + hops["decode"] > 0.5 * sum(hops.values())


def test_a_tool_that_must_be_called_gets_what_its_schema_says(product: Launched) -> None:
    parameters = {"type": "object", "properties": {"city": {"enum": ["Rome", "Bonn"]}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        with client(product) as api:
            answer = api.chat.completions.create(
                model="guide", messages=ASK, tools=[tool], tool_choice=choice, temperature=2, max_tokens=400
            )
        calls = answer.choices[0].message.tool_calls
        assert calls and calls[0].type == "function"
        assert json.loads(calls[0].function.arguments)["city"] in ("Rome", "Bonn")


def test_anthropics_sdk_streams_a_forced_tool_call_and_thinks_of_its_usage_first(product: Launched) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Bonn"]}}, "required": ["city"]}
    tool: Any = {"name": "weather", "description": "Tells the weather.", "input_schema": schema}
    asked: Any = {"model": "guide", "max_tokens": 400, "messages": ASK, "extra_body": {"temperature": 2}}
    with anthropic.Anthropic(base_url=product.url, api_key=product.key, max_retries=0) as api:
        for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
            with api.messages.stream(**asked, tools=[tool], tool_choice=choice) as stream:
                first = next(iter(stream))
                called = stream.get_final_message()
            assert called.stop_reason == "tool_use"
            (call,) = [block for block in called.content if block.type == "tool_use"]
            assert call.name == "weather" and call.input["city"] in ("Rome", "Bonn")
            assert first.type == "message_start"
            assert first.message.usage.input_tokens == called.usage.input_tokens > 5
        plain: Any = {"model": "guide", "max_tokens": 100_000, "messages": ASK, "extra_body": {"temperature": 0}}
        with api.messages.stream(**plain) as stream:
            streamed = stream.get_final_message()
        whole = api.messages.create(**plain, timeout=60)
        counted = api.messages.count_tokens(model="guide", messages=ASK)  # type: ignore[arg-type]
    assert streamed.content[0].type == "text" and "ChatLLM" in streamed.content[0].text
    assert whole.content[0].type == "text" and whole.content[0].text == streamed.content[0].text
    assert streamed.usage.input_tokens == counted.input_tokens
    assert streamed.stop_reason == "end_turn"


OPTIONAL = {f"property_{n}": {"type": "string", "pattern": f"^[a-z]{{1,{n + 9}}}$"} for n in range(4_000)}
WITHOUT_END = {"type": "object", "properties": OPTIONAL}


async def test_a_grammar_without_end_is_refused_and_keeps_nobody_waiting(product: Launched) -> None:
    """Neither the one whose client waits nor the one whose client leaves; a small grammar is answered meanwhile."""
    chat = {"messages": ASK, "max_tokens": 8, "temperature": 1}
    async with product.client() as http:

        async def ask(guide: dict[str, Any], **options: Any) -> httpx.Response:
            return await http.post("/v1/chat/completions", json={**chat, "structured_outputs": guide}, **options)

        assert (await ask({"regex": "(yes|no)"})).status_code == 200  # starts the process that tries grammars
        refused = asyncio.create_task(ask({"json": WITHOUT_END}, timeout=240))
        with pytest.raises(httpx.TimeoutException):
            await ask({"json": {**WITHOUT_END, "required": ["property_1"]}}, timeout=2)
        began = time.perf_counter()
        small = await ask({"json": {"enum": ["Rome", "Bonn"]}})
        assert small.json()["choices"][0]["message"]["content"] in ('"Rome"', '"Bonn"')
        assert time.perf_counter() - began < 20
        answer = await refused
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "structured_outputs")
        assert "too long to compile" in answer.json()["error"]["message"]
        assert (await ask({"choice": [f"choice {n}" for n in range(2_000)]}, timeout=120)).status_code == 200


MEGABYTES = "What is ChatLLM? " * 230_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tokenize", {"prompt": MEGABYTES}),
        ("/v1/completions", {"prompt": MEGABYTES, "truncate_prompt_tokens": 20, "max_tokens": 2}),
        ("/v1/chat/completions", {"messages": ASK, "bad_words": [MEGABYTES]}),
    ],
)
async def test_a_long_text_holds_up_no_other_stream(product: Launched, path: str, body: dict[str, Any]) -> None:
    """What holds others up does so for nearly all of its own time, which was 8 to 32 s, however busy the machine is."""
    gaps: list[float] = []
    async with product.client() as http, product.client() as other:
        async with http.stream("POST", "/v1/chat/completions", json={**LONG, "ignore_eos": True}) as response:
            lines = response.aiter_lines()
            for _ in range(20):
                await anext(lines)
            sent_at = time.perf_counter()
            sent = asyncio.create_task(other.post(path, json={"model": "guide", **body}, timeout=120))
            while not sent.done() and len(gaps) < 2_000:
                began = time.perf_counter()
                if await anext(lines, None) is None:
                    break
                gaps.append(time.perf_counter() - began)
        answer = await sent
        took_s = time.perf_counter() - sent_at
    assert answer.status_code == (400 if "bad_words" in body else 200), answer.text[:500]
    assert max(gaps) < max(3, took_s / 2)
    if path == "/v1/tokenize":
        assert answer.json()["count"] > 230_000


async def test_a_truncated_prompt_is_read_as_if_it_had_been_tokenized_whole(product: Launched) -> None:
    text = " ".join(f"word{n}" for n in range(30_000))
    asked = {"model": "guide", "prompt": text, "truncate_prompt_tokens": 30, "max_tokens": 1, "echo": True}
    async with product.client() as http:
        tokens = (await http.post("/v1/tokenize", json={"prompt": text}, timeout=120)).json()["tokens"]
        for side, kept in (("left", tokens[-30:]), ("right", tokens[:30])):
            said = await http.post("/v1/completions", json={**asked, "truncation_side": side, "return_token_ids": True})
            assert said.json()["choices"][0]["prompt_token_ids"] == kept
        by_default = await http.post("/v1/completions", json={**asked, "return_token_ids": True})
        assert by_default.json()["choices"][0]["prompt_token_ids"] in (tokens[-30:], tokens[:30])


async def test_token_ids_out_of_the_vocabulary_are_told(product: Launched) -> None:
    async with product.client() as http:
        answer = await http.post("/v1/completions", json={"model": "guide", "prompt": [1, 100_257]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert "/v1/tokenize" in answer.json()["error"]["message"]


FOREIGN = ("pydantic", "validation error", "xgrammar", "vllm", "Traceback", "Error", "None", "/project/", "--", "{'")


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"json": {"$ref": "#"}}},
        {"structured_outputs": {"json": {"type": "objekt"}}},
        {"structured_outputs": {"json": {"type": "string", "minLength": 5, "maxLength": 2}}},
        {"structured_outputs": {"regex": "(a"}},
        {"structured_outputs": {"grammar": "root :="}},
        {"structured_outputs": {}},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"structured_outputs": {"nothing": 1}},
        {"structured_outputs": {"structural_tag": "{}"}},
        {"chat_template": "{{ 1 / 0 }}"},
        {"chat_template_kwargs": {"chat_template": "x"}},
        {"allowed_token_ids": [10_000_000]},
        {"logit_bias": {"999999999": 1}},
        {"bad_words": [""]},
        {"min_tokens": 100, "max_tokens": 10},
        {"repetition_penalty": 0},
        {"truncate_prompt_tokens": -7},
        {"prompt_logprobs": 1_000},
        {"thinking_token_budget": -5},
        {"documents": [{"a": 1}]},
        {"messages": [{"role": "user", "content": [{"type": "nothing"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        {"messages": [{"role": "assistant", "tool_calls": "x", "content": "y"}]},
    ],
    ids=lambda fields: str(fields)[:60],
)
async def test_no_error_speaks_of_what_lies_beneath(product: Launched, fields: dict[str, Any]) -> None:
    async with product.client() as http:
        answer = await http.post("/v1/chat/completions", json={"messages": ASK, "max_tokens": 2, **fields})
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["message"] and not any(word in error["message"] for word in FOREIGN), error


async def test_what_the_engine_remembers_of_a_prompt_is_told_to_its_own_key_alone(product: Launched) -> None:
    """Else a key could guess the prompts of others, by what is cached or by how soon the answer begins."""
    secret = product.chatllm("keys", "create", "curious").strip()
    words = " ".join(f"w{n * 37 % 1000}" for n in range(120))
    ask = {"messages": [{"role": "user", "content": f"{time.time()} {words}"}], "max_tokens": 1, "temperature": 1}

    async def cached(http: httpx.AsyncClient) -> int:
        answer = await http.post("/v1/chat/completions", json=ask, headers=NOT_CACHED)
        return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    async with product.client() as http, product.client() as other:
        other.headers["authorization"] = f"Bearer {secret}"
        assert await cached(http) == 0
        assert await cached(http) > 100
        assert await cached(other) == 0
        assert await cached(other) > 100
        options = {"stream": True, "stream_options": {"include_usage": True}}
        streamed = await http.post("/v1/chat/completions", json=ask | options, headers=NOT_CACHED)
    last = [line for line in streamed.text.splitlines() if line.startswith("data: {")][-1]
    assert json.loads(last.removeprefix("data: "))["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


async def test_tokens_and_the_lack_of_embeddings(product: Launched) -> None:
    async with product.client() as http:
        text = (await http.post("/tokenize", json={"model": "guide", "prompt": "What is ChatLLM?"})).json()
        chat = (await http.post("/v1/tokenize", json={"messages": ASK})).json()
        back = (await http.post("/v1/detokenize", json={"tokens": text["tokens"]})).json()
        refused = await http.post("/v1/embeddings", json={"model": "guide", "input": "hello"})
    assert back["prompt"] == "What is ChatLLM?"
    assert text["max_model_len"] == 2048 and text["count"] < chat["count"]
    assert refused.status_code == 400 and "'guide'" in refused.json()["error"]["message"]


def test_bad_requests_say_what_is_wrong(product: Launched) -> None:
    api = client(product)
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        client(product).with_options(api_key="wrong").models.list()
    with pytest.raises(openai.NotFoundError) as no_model:
        api.chat.completions.create(model="gpt-9", messages=ASK)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as too_long:
        api.chat.completions.create(model="guide", messages=[{"role": "user", "content": "hello " * 3000}])
    with pytest.raises(openai.BadRequestError) as unknown_field:
        api.chat.completions.create(model="guide", messages=ASK, extra_body={"temprature": 1})
    assert "2048" in too_long.value.message
    assert unknown_field.value.param == "temprature"
    for error in (wrong_key, no_model, too_long, unknown_field):
        assert error.value.request_id
        assert error.value.body["request_id"] == error.value.request_id  # type: ignore[index]


async def test_leaving_frees_the_engine_within_half_a_second(product: Launched) -> None:
    """vLLM's own gauge of running requests, as Ray exports it, falls to zero."""
    async with product.client() as http:
        async with http.stream("POST", "/v1/chat/completions", json={**LONG, "ignore_eos": True}) as response:
            lines = response.aiter_lines()
            for _ in range(20):
                await anext(lines)
            assert await _running(http) == 1
        left = time.perf_counter()
        while await _running(http):
            assert time.perf_counter() - left < 0.5
            await asyncio.sleep(0.02)


async def _running(http: httpx.AsyncClient) -> int:
    """Return how many requests the engine holds."""
    models = (await http.get("/v1/models/guide")).json()
    return int(models["running"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_answer_that_nobody_waited_for_costs_what_the_engine_has_generated(
    product: Launched, path: str
) -> None:
    """Nothing of it has been sent: the engine itself tells how far it was."""
    secret = product.chatllm("keys", "create", f"impatient {path}").strip()
    asked = {"prompt": "What is ChatLLM?"} if path == "/v1/completions" else {"messages": ASK}
    long = {**asked, "model": "guide", "n": 2, "max_tokens": 1500, "ignore_eos": True, "temperature": 1}
    assert not await leave(f"{product.url}{path}", secret, long, stays_s=2)
    headers = {"authorization": f"Bearer {secret}"}
    async with product.client() as http, asyncio.timeout(30):
        tokens = (await http.post("/v1/tokenize", json={**asked, "model": "guide"})).json()["count"]
        total = {"requests": 0}
        while total["requests"] < 1:
            await asyncio.sleep(0.2)
            total = (await http.get("/v1/usage", headers=headers)).json()["total"]
    assert (total["errors"], total["prompt_tokens"]) == (0, tokens)
    assert 2 * 10 < total["completion_tokens"] < 2 * 1500
