"""Remote media comes only from named hosts and public addresses, also after redirects, within bounds."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp import web

from deployments.config import ScriptedModel
from deployments.errors import BadRequest
from deployments.models.media import check_media
from deployments.models.vllm import media_fetch
from deployments.models.vllm.media_fetch import inline_media, is_public
from tests.unit.api.conftest import running
from tests.unit.api.test_errors import assert_error

PIXEL = b"GIF89a-not-quite"
HERE = ("localhost", "127.0.0.1")


def messages(url: str, kind: str = "image_url") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind, kind: {"url": url}}]}]


@pytest.fixture
async def site() -> AsyncGenerator[str]:
    """A web site on the loopback interface: a picture, redirects, something endless."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=PIXEL, content_type="image/gif")

    async def onward(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    app = web.Application()
    app.add_routes([web.get("/picture", picture), web.get("/onward", onward), web.get("/endless", endless)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


def anywhere(_: str) -> bool:
    return True


async def test_a_named_host_is_fetched_and_redirects_within_it_are_followed(site: str) -> None:
    for path in ("/picture", "/onward?to=/picture"):
        asked = messages(site + path)
        await inline_media(asked, HERE, anywhere)
        assert asked[0]["content"][1]["image_url"]["url"] == "data:image/gif;base64," + base64.b64encode(PIXEL).decode()


@pytest.mark.parametrize("host", HERE)
async def test_a_named_host_whose_address_is_not_public_is_not_connected_to(site: str, host: str) -> None:
    """As after a change of its DNS: the name is allowed, the address it has now is not."""
    with pytest.raises(BadRequest, match="could not be fetched"):
        await inline_media(messages(site.replace("localhost", host) + "/picture"), HERE)


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/", "file:///etc/passwd", "http://169.254.169.254/", "//[::1]/"])
async def test_a_redirect_is_bound_by_the_same_rules(site: str, to: str) -> None:
    with pytest.raises(BadRequest):
        await inline_media(messages(f"{site}/onward?to={to}"), ("localhost",), anywhere)


async def test_an_address_is_checked_again_at_every_redirect(site: str) -> None:
    seen: list[str] = []

    def at_first(address: str) -> bool:
        seen.append(address)
        return len(seen) < 3

    literal = site.replace("localhost", "127.0.0.1")
    with pytest.raises(BadRequest, match="could not be fetched"):
        await inline_media(messages(f"{site}/onward?to={literal}/onward?to={literal}/picture"), HERE, at_first)


async def test_bytes_and_redirects_are_bounded(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_fetch, "MAX_BYTES", 1_000_000)
    with pytest.raises(BadRequest, match="larger than"):
        await inline_media(messages(f"{site}/endless"), HERE, anywhere)
    with pytest.raises(BadRequest, match="redirects more than"):
        await inline_media(
            messages(
                f"{site}/onward?to=/onward%3Fto%3D/onward%253Fto%253D/onward%25253Fto%25253D/onward"
                "%2525253Fto%2525253D/picture"
            ),
            HERE,
            anywhere,
        )


async def test_an_endless_transfer_is_bounded_in_time(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_fetch, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(media_fetch, "MAX_BYTES", 1 << 40)
    with pytest.raises(BadRequest, match="could not be fetched"):
        await inline_media(messages(f"{site}/endless"), HERE, anywhere)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_no_address_but_a_public_one(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert all(map(is_public, ("1.1.1.1", "93.184.216.34", "2606:4700::1111")))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "https://example.org/x",
        "file:///etc/passwd",
        "ftp://images.example.org/x",
        "gopher://x",
        "http://images.example.org@evil.example/x",
        "http://user:word@images.example.org/x",
        "http://[::1/x",
        "x",
        "",
        "http://images.example.org.evil.example/x",
        "//images.example.org/x",
    ],
)
@pytest.mark.parametrize("kind", ["image_url", "audio_url", "video_url"])
def test_other_urls_are_refused_by_their_place(url: str, kind: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_media(messages(url, kind), ("images.example.org",))
    assert refused.value.param == f"messages[0].content[1].{kind}"


@pytest.mark.parametrize(
    "url", ["https://images.example.org/x", "HTTP://IMAGES.example.org:80/x", "data:image/png;base64,AA=="]
)
def test_the_named_host_and_data_pass_the_first_check(url: str) -> None:
    check_media(messages(url), ("images.example.org",))


async def test_what_was_said_before_becomes_a_note_where_it_cannot_be_had() -> None:
    asked = [*messages("http://127.0.0.1/x"), {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    check_media(asked, ())
    await inline_media(asked, ())
    assert asked[0]["content"] == [{"type": "text", "text": "x"}, {"type": "text", "text": "[image: not available]"}]


async def test_the_api_refuses_remote_media_unless_the_model_names_its_host() -> None:
    closed = ScriptedModel(id="closed", kind="scripted", input_modalities=("text", "image"))
    named = {"allowed_media_domains": ("images.example.org",)}
    async with running(closed, ScriptedModel(**{**closed.model_dump(), **named, "id": "open"})) as service:
        asked = messages("https://images.example.org/x")
        for path, body, param in (
            ("/v1/chat/completions", {"messages": asked}, "messages[0].content[1].image_url"),
            (
                "/v1/responses",
                {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://127.0.0.1/"}]}]},
                "messages[0].content[0].image_url",
            ),
        ):
            answer = await service.http.post(path, json={"model": "closed", **body})
            assert "data:" in assert_error(answer, 400, "invalid_request", param)["message"]
        passed = await service.http.post("/v1/chat/completions", json={"model": "open", "messages": asked})
        assert passed.status_code == 200
