"""Web pages of other origins: what they may do once the configuration names them, and nothing before."""

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.api.http.cors import EXPOSED_HEADERS
from deployments.config import CorsSettings, ScriptedModel
from tests.unit.api.conftest import Service, running

QUICK = ScriptedModel(id="quick", kind="scripted", tokens=8)
PAGE = "https://app.example.org"
PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
    "authorization": "",
}
SAFELISTED = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
"""Response headers that every page may read (https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name)."""
OF_THE_CONNECTION = {"date", "server", "vary", "x-accel-buffering"}


async def test_without_origins_nothing_is_said_of_cors(service: Service) -> None:
    refused = await service.http.options(PATH, headers=PREFLIGHT)
    answered = await service.http.post(PATH, json=ASKED, headers={"origin": PAGE})
    assert (refused.status_code, answered.status_code) == (405, 200)
    for answer in (refused, answered):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_preflight_request_needs_no_key() -> None:
    async with running(QUICK, cors=CorsSettings(allow_origins=(PAGE,), max_age_s=77)) as service:
        for path in (PATH, "/v1/models", "/v1/conversations/conv_1", "/nothing"):
            answer = await service.http.options(path, headers=PREFLIGHT)
            allowed = {
                name: answer.headers[f"access-control-allow-{name}"] for name in ("origin", "methods", "headers")
            }
            assert answer.status_code == 200 and allowed["origin"] == PAGE
            assert {"POST", "DELETE"} <= set(allowed["methods"].split(", "))
            assert {"authorization", "x-stainless-os"} <= set(allowed["headers"].replace(" ", "").split(","))
            assert answer.headers["access-control-max-age"] == "77"
        other = await service.http.options(PATH, headers=PREFLIGHT | {"origin": "https://evil.example.org"})
        assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", [(PAGE, "http://localhost:3000"), ("*",)])
async def test_answers_streams_and_errors_may_be_read(origins: tuple[str, ...]) -> None:
    async with running(QUICK, cors=CorsSettings(allow_origins=origins)) as service:
        headers = {"origin": PAGE}
        answers = [
            await service.http.post(PATH, json=ASKED, headers=headers),
            await service.http.post(PATH, json=ASKED | {"stream": True}, headers=headers),
            await service.http.post(PATH, content=b"{", headers=headers),
            await service.http.get("/v1/models", headers=headers | {"authorization": "Bearer wrong"}),
            await service.http.get("/v1/models", headers=headers | {"x-request-id": "x" * 200}),
            await service.http.get("/v1/models", headers=headers | {"x-large": "x" * 50_000}),
            await service.http.get("/nothing", headers=headers),
            await service.http.post(PATH, content=b"x" * 9_000_000, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 400, 401, 400, 431, 404, 413]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == ("*" if origins == ("*",) else PAGE)
            assert "access-control-allow-credentials" not in answer.headers
            assert set(answer.headers["access-control-expose-headers"].split(", ")) == set(EXPOSED_HEADERS)
        assert b"data: [DONE]" in answers[1].content
        if origins != ("*",):
            other = await service.http.post(PATH, json=ASKED, headers={"origin": "https://evil.example.org"})
            assert "access-control-allow-origin" not in other.headers and "Origin" in answers[0].headers["vary"]


async def test_every_header_that_is_sent_is_exposed() -> None:
    async with running(QUICK, cors=CorsSettings(allow_origins=(PAGE,))) as service:
        _, limited = await service.keys.create("limited", {"requests_per_minute": 3, "tokens_per_minute": 1000})
        headers = {"origin": PAGE, "authorization": f"Bearer {limited}"}
        sent: set[str] = set()
        for seed in (1, 1, 2, 2):  # the last one is past the limit
            answer = await service.http.post(PATH, json=ASKED | {"seed": seed}, headers=headers)
            sent |= set(answer.headers)
        sent |= set((await service.http.put(PATH, headers=headers)).headers)
    ours = {name for name in sent if not name.startswith("access-control")} - SAFELISTED - OF_THE_CONNECTION
    assert {"x-cache", "retry-after", "x-ratelimit-reset-tokens"} <= ours
    assert ours - set(EXPOSED_HEADERS) == set()


@pytest.mark.parametrize("origin", ["app.example.org", "https://app.example.org/", "https://a.org, https://b.org", ""])
def test_what_no_browser_sends_as_an_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError):
        CorsSettings(allow_origins=(origin,))
