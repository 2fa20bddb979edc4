"""Bad input is answered in OpenAI's error shape, with a request id, and names what is wrong."""

import re
from typing import Any

import pytest

from tests.unit.api.conftest import Service

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def assert_error(response: Any, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert (error["code"], error["param"]) == (code, param)
    assert error["request_id"] == response.headers["x-request-id"]
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"messages": HELLO, "max_tokens": "many"}, "max_tokens"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"messages": HELLO, "stream": "yes"}, "stream"),
        ({"messages": HELLO, "temperature": 3}, "temperature"),
        ({"messages": HELLO, "seed": 1.5}, "seed"),
        ({"messages": HELLO, "model": 7}, "model"),
    ],
)
async def test_wrong_types_name_the_field(service: Service, fields: dict[str, Any], param: str) -> None:
    error = assert_error(await service.http.post(PATH, json=fields), 400, "invalid_request", param)
    assert not re.search(r"`(str|int|bool|float)\b", error["message"]), error


@pytest.mark.parametrize("broken", [b"{", b"\xff", b'{"a": }', b"[" * 100_000])
async def test_bad_json(service: Service, broken: bytes) -> None:
    assert_error(await service.http.post(PATH, content=broken), 400, "invalid_json")


async def test_json_that_is_no_object(service: Service) -> None:
    assert_error(await service.http.post(PATH, content=b"[1]"), 400, "invalid_request")


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic abc"}])
async def test_a_wrong_key_is_401(service: Service, header: dict[str, str]) -> None:
    for method, path in (("POST", PATH), ("GET", "/v1/models"), ("GET", "/v1/conversations"), ("GET", "/v1/models/x")):
        headers = {"authorization": "", **header}
        response = await service.http.request(method, path, json={"messages": HELLO}, headers=headers)
        assert_error(response, 401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_unknown_things_are_404(service: Service) -> None:
    unknown = await service.http.post(PATH, json={"model": "gpt-9", "messages": HELLO})
    assert "gpt-9" in assert_error(unknown, 404, "model_not_found", "model")["message"]
    assert_error(await service.http.get("/v1/models/gpt-9"), 404, "model_not_found", "model")
    assert_error(await service.http.get("/v1/nothing"), 404, "not_found")
    assert_error(await service.http.delete(PATH), 405, "method_not_allowed")
    in_nowhere = await service.http.post(PATH, json={"messages": HELLO, "conversation": "conv_none"})
    assert_error(in_nowhere, 404, "not_found")


async def test_a_method_that_is_not_supported_names_those_that_are(service: Service) -> None:
    for path, allowed in (
        ("/v1/models", {"GET", "HEAD"}),
        ("/v1/tokenize", {"POST"}),
        ("/v1/conversations", {"GET", "HEAD", "POST"}),
        ("/v1/conversations/conv_x", {"GET", "HEAD", "POST", "DELETE"}),
    ):
        response = await service.http.patch(path)
        assert_error(response, 405, "method_not_allowed")
        assert set(response.headers["allow"].split(", ")) == allowed


async def test_a_body_that_says_it_is_not_json_is_415(service: Service) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/xml; charset=utf-8"):
        response = await service.http.post(PATH, content=b'{"messages": []}', headers={"content-type": kind})
        assert "application/json" in assert_error(response, 415, "unsupported_content_type")["message"]
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        response = await service.http.post(PATH, content=b"{", headers={"content-type": kind})
        assert_error(response, 400, "invalid_json")


async def test_a_prompt_that_is_too_long_names_the_limit(service: Service) -> None:
    response = await service.http.post(PATH, json={"messages": [{"role": "user", "content": "word " * 201}]})
    assert "200" in assert_error(response, 400, "context_length_exceeded", "messages")["message"]


async def test_a_body_that_is_too_large_is_413(service: Service) -> None:
    async def endless() -> Any:
        for _ in range(1_500):  # no more than is drained in the 2 s before the connection ends
            yield b" " * 10_000

    assert_error(await service.http.post(PATH, content=b" " * 9_000_000), 413, "body_too_large")
    assert_error(await service.http.post(PATH, content=endless()), 413, "body_too_large")


async def test_a_request_id_is_taken_or_made(service: Service) -> None:
    given = await service.http.get("/v1/models", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    assert (await service.http.get("/v1/models")).headers["x-request-id"].startswith("req_")
    for strange in ("no spaces", "", "x" * 129, "ü"):
        refused = await service.http.get("/v1/models", headers={"x-request-id": strange.encode("latin-1")})
        assert_error(refused, 400, "invalid_request", "x-request-id")


async def test_an_unexpected_error_tells_nothing_but_its_id(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    detail = "secret detail"

    def fail(*_: Any) -> None:
        raise RuntimeError(detail)

    monkeypatch.setattr(service.models, "resolve", fail)
    response = await service.http.post(PATH, json={"messages": HELLO})
    assert "secret" not in response.text
    error = assert_error(response, 500, "internal_error")
    assert error["request_id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert detail not in caplog.text


@pytest.mark.parametrize("kind", [[], {}, 1, True])
async def test_a_type_that_is_no_string_is_refused_by_name(service: Service, kind: Any) -> None:
    chat = {"messages": [{"role": "user", "content": [{"type": kind, "text": "x"}]}]}
    response = await service.http.post(PATH, json=chat)
    assert_error(response, 400, "invalid_request", "messages[0].content[0].type")
    tools = {"input": "x", "tools": [{"type": kind, "name": "f"}]}
    assert_error(await service.http.post("/v1/responses", json=tools), 400, "invalid_request", "tools[0].type")
    chosen = {"input": "x", "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": kind, "name": "f"}}
    assert_error(await service.http.post("/v1/responses", json=chosen), 400, "invalid_request", "tool_choice")
