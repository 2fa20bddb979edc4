"""Conversations that are shared by link, over HTTP."""

import time
from typing import Any

import httpx
import pytest

from deployments.api.routes import shares
from tests.unit.api.conftest import Service
from tests.unit.api.test_metering import key

NO_KEY = {"authorization": ""}
A_PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
QUESTION = [{"type": "input_text", "text": "How long is the Rhine?"}, A_PICTURE]


async def conversation(service: Service) -> str:
    items = [
        {"type": "message", "role": "system", "content": "Never say this."},
        {"type": "message", "role": "user", "content": QUESTION},
        {"type": "message", "role": "assistant", "content": "1,233 km"},
    ]
    body = {"title": "Rivers", "metadata": {"system_0": "Never say this."}, "items": items}
    return (await service.http.post("/v1/conversations", json=body)).json()["id"]


async def share(service: Service, conversation_id: str, **body: Any) -> dict[str, Any]:
    made = await service.http.post(f"/v1/conversations/{conversation_id}/shares", json=body)
    assert made.status_code == 200, made.text
    assert made.headers["cache-control"] == "no-store"
    return made.json()


async def read(service: Service, token: str) -> httpx.Response:
    return await service.http.get(f"/v1/shares/{token}", headers=NO_KEY)


async def test_a_share_is_read_without_a_key_and_shows_what_was_said_alone(service: Service) -> None:
    mine = await conversation(service)
    made = await share(service, mine)
    shown = await read(service, made["token"])
    assert shown.json() == {
        "object": "shared_conversation",
        "title": "Rivers",
        "created_at": made["created_at"],
        "messages": [
            {"role": "user", "text": "How long is the Rhine?", "left_out": 1},
            {"role": "assistant", "text": "1,233 km", "left_out": 0},
        ],
        "is_cut": False,
    }
    for secret in ("Never say", "conv_", "msg_", "key_", "share_", "AAAA"):
        assert secret not in shown.text
    assert shown.headers["cache-control"] == "no-store" and shown.headers["referrer-policy"] == "no-referrer"


async def test_what_is_said_afterwards_is_not_shown(service: Service) -> None:
    mine = await conversation(service)
    token = (await share(service, mine))["token"]
    before = (await read(service, token)).json()
    said = {"model": "quick", "messages": [{"role": "user", "content": "And the Elbe?"}], "conversation": mine}
    assert (await service.http.post("/v1/chat/completions", json=said)).status_code == 200
    await service.http.post(f"/v1/conversations/{mine}", json={"title": "Later"})
    assert (await read(service, token)).json() == before


async def test_the_list_has_no_tokens_and_a_revoked_share_is_gone(service: Service) -> None:
    mine = await conversation(service)
    first, second = await share(service, mine), await share(service, mine, expires_at=int(time.time()) + 3600)
    listed = (await service.http.get(f"/v1/conversations/{mine}/shares")).json()["data"]
    assert listed == [{name: made[name] for name in made if name != "token"} for made in (second, first)]
    gone = await service.http.delete(f"/v1/conversations/{mine}/shares/{first['id']}")
    assert gone.json() == {"id": first["id"], "object": "conversation.share.deleted", "deleted": True}
    revoked, unknown = await read(service, first["token"]), await read(service, "x" * 43)
    assert revoked.status_code == unknown.status_code == 404
    assert revoked.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert (await read(service, second["token"])).status_code == 200


async def test_a_share_goes_with_its_conversation(service: Service) -> None:
    mine = await conversation(service)
    token = (await share(service, mine))["token"]
    await service.http.delete(f"/v1/conversations/{mine}")
    assert (await read(service, token)).status_code == 404


async def test_another_key_neither_shares_nor_sees_nor_revokes(service: Service) -> None:
    mine = await conversation(service)
    made, other = await share(service, mine), await key(service)
    path = f"/v1/conversations/{mine}/shares"
    for answer in (
        await service.http.post(path, json={}, headers=other),
        await service.http.get(path, headers=other),
        await service.http.delete(f"{path}/{made['id']}", headers=other),
    ):
        assert answer.status_code == 404
    for answer in (await service.http.get(path, headers=NO_KEY), await service.http.post(path, headers=NO_KEY)):
        assert answer.status_code == 401
    assert (await read(service, made["token"])).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"expires_at": 1}, 400),
        ({"expires_at": "soon"}, 400),
        ({"expires_at": 10**15}, 400),
        ({"until": "msg_nobody"}, 404),
        ({"live": True}, 400),
    ],
)
async def test_what_cannot_be_shared_so_is_refused(service: Service, body: dict[str, Any], status: int) -> None:
    mine = await conversation(service)
    refused = await service.http.post(f"/v1/conversations/{mine}/shares", json=body)
    assert refused.status_code == status and next(iter(body)) in refused.text.replace("Item with id", "until")


@pytest.mark.parametrize("token", ["x", "..%2f..%2fv1%2fmodels", "%00" * 43, "é" * 43, "x" * 5000])
async def test_what_is_no_token_is_the_same_404(service: Service, token: str) -> None:
    assert (await read(service, token)).status_code == 404
    service.history.is_away = True  # it does not even ask the store
    assert (await read(service, token)).status_code == 404


async def test_a_store_that_is_away_is_a_503(service: Service) -> None:
    token = (await share(service, await conversation(service)))["token"]
    service.history.is_away = True
    answer = await read(service, token)
    assert answer.status_code == 503 and answer.headers["retry-after"]


async def test_a_flood_of_reads_is_refused_before_it_reaches_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await share(service, await conversation(service)))["token"]
    monkeypatch.setattr(shares, "MAX_WAITING", 0)
    refused = await read(service, token)
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "overloaded"
    monkeypatch.undo()
    assert (await read(service, token)).status_code == 200
