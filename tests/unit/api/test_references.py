"""What a response may refer to or leave out: stored items by their ids, the input itself; and its tokens counted."""

from typing import Any

import pytest

from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/responses"
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


async def made(service: Service, **body: Any) -> dict[str, Any]:
    answer = await service.http.post(PATH, json={"model": "quick", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def read(service: Service, **body: Any) -> int:
    """How many words the model read."""
    return (await made(service, **body))["usage"]["input_tokens"]


@pytest.mark.parametrize("reference", [{"type": "item_reference"}, {}, {"type": None}])
async def test_items_are_read_by_their_ids(service: Service, reference: dict[str, Any]) -> None:
    first = await made(service, input="one two three")
    said = first["output"][0]["id"]
    given: list[Any] = [{"role": "user", "content": "one two three"}, {**reference, "id": said}]
    second = await made(service, input=[*given, {"role": "user", "content": "and four"}])
    assert second["usage"]["input_tokens"] == 3 + 8 + 2
    kept = (await service.http.get(f"{PATH}/{second['id']}/input_items?order=asc")).json()["data"]
    assert [item["role"] for item in kept] == ["user", "assistant", "user"]
    assert kept[1]["content"] == first["output"][0]["content"]
    assert kept[1]["id"] != said
    again = [*given, {"id": kept[1]["id"]}]
    assert await read(service, input=again, store=False) == 3 + 8 + 8


async def test_items_of_conversations_are_read_too(service: Service) -> None:
    talk = (await service.http.post("/v1/conversations", json={"items": [{"role": "user", "content": "a b c"}]})).json()
    item = (await service.http.get(f"/v1/conversations/{talk['id']}/items")).json()["data"][0]["id"]
    assert await read(service, input=[{"id": item}, {"role": "user", "content": "d"}]) == 4
    assert await read(service, input=[{"id": item}, {"id": item}]) == 3, "said once"
    assert await read(service, input=[{"id": item}], conversation=talk["id"]) == 3, "said already"


async def test_items_of_other_keys_are_not_there(service: Service) -> None:
    said = (await made(service, input="hello"))["output"][0]["id"]
    _, secret = await service.keys.create("bob", {"tenant": "bob"})
    for id_, headers in ((said, {"authorization": f"Bearer {secret}"}), ("msg_none", {})):
        body = {"model": "quick", "input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": id_}]}
        for path in (PATH, f"{PATH}/input_tokens"):
            answer = await service.http.post(path, json=body, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (404, "input[1].id")
            assert id_ in error["message"]


async def test_items_of_a_response_that_was_not_stored_are_not_there(service: Service) -> None:
    said = (await made(service, input="hello", store=False))["output"][0]["id"]
    assert (await service.http.post(PATH, json={"input": [{"id": said}]})).status_code == 404


@pytest.mark.parametrize("nothing", [{}, {"input": []}, {"input": None}])
async def test_a_response_without_input_continues(service: Service, nothing: dict[str, Any]) -> None:
    first = await made(service, input="one two")
    second = await made(service, previous_response_id=first["id"], **nothing)
    assert second["usage"]["input_tokens"] == 2 + 8
    assert (await service.http.get(f"{PATH}/{second['id']}/input_items")).json()["data"] == []
    third = await made(service, previous_response_id=second["id"], input="three")
    assert third["usage"]["input_tokens"] == 2 + 8 + 8 + 1
    items = [{"role": "user", "content": "a b c"}]
    talk = (await service.http.post("/v1/conversations", json={"items": items})).json()["id"]
    assert await read(service, conversation=talk, **nothing) == 3
    background = await made(service, conversation=talk, background=True, **nothing)
    assert background["status"] == "queued"


async def test_without_input_there_must_be_something_to_answer(service: Service) -> None:
    talk = (await service.http.post("/v1/conversations")).json()["id"]
    for body in ({}, {"instructions": "be brief"}, {"conversation": talk}, {"conversation": talk, "input": []}):
        answer = await service.http.post(PATH, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input"), answer.text


async def test_what_a_function_returns_may_hold_images() -> None:
    seeing = ScriptedModel(id="quick", kind="scripted", tokens=4, input_modalities=("text", "image"))
    async with running(seeing) as service:
        call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
        output = [{"type": "input_text", "text": "a cat"}, IMAGE]
        given = [{"role": "user", "content": "look"}, call, {**call, "type": "function_call_output", "output": output}]
        first = await made(service, input=given)
        kept = (await service.http.get(f"{PATH}/{first['id']}/input_items")).json()["data"][0]
        assert kept["output"] == [output[0], {**IMAGE, "detail": "auto"}]
        assert await read(service, previous_response_id=first["id"], input="and now") == 1 + 2 + 4 + 2
        wrong = [{**call, "type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}]
        answer = await service.http.post(PATH, json={"input": wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input[0].output[0].type")


async def test_chats_take_the_parts_of_responses() -> None:
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=4)) as service:
        texts = [{"type": kind, "text": kind} for kind in ("text", "input_text", "output_text")]
        messages = [{"role": "user", "content": [*texts, IMAGE]}, {"role": "assistant", "content": texts[2:]}]
        for path in ("/v1/chat/completions", "/v1/tokenize"):
            answer = await service.http.post(path, json={"messages": messages})
            assert answer.status_code == 200, answer.text
        talk = (await service.http.post("/v1/conversations")).json()["id"]
        await service.http.post("/v1/chat/completions", json={"messages": messages, "conversation": talk})
        kept = (await service.http.get(f"/v1/conversations/{talk}/items?order=asc")).json()["data"]
        assert [part["type"] for part in kept[0]["content"]] == [*["input_text"] * 3, "input_image"]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "file", "file": {"file_id": "f"}}, "type"),
        ({"type": "text"}, "text"),
        ({"type": "input_text", "text": 3}, "text"),
        ({"type": "input_image", "file_id": "f"}, "image_url"),
        ({"type": "image_url", "image_url": {}}, "image_url"),
        ({"text": "x"}, "type"),
    ],
)
async def test_a_part_that_no_model_reads_is_refused_in_words(
    service: Service, part: dict[str, Any], named: str
) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "user", "content": [part]}]
    answer = await service.http.post("/v1/chat/completions", json={"messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"messages[1].content[0].{named}")


async def test_input_tokens_are_counted_as_the_response_would_read_them(service: Service) -> None:
    async def count(**body: Any) -> int:
        answer = (await service.http.post(f"{PATH}/input_tokens", json={"model": "quick", **body})).json()
        assert answer["object"] == "response.input_tokens"
        return answer["input_tokens"]

    assert await count(input="hello") == 5, "the scripted model's tokens are bytes"
    assert await count(input="hello", instructions="be brief", personality="friendly") == len("be brief\nhello")
    first = await made(service, input="hello")
    said = first["output"][0]["content"][0]["text"]
    assert await count(input="more", previous_response_id=first["id"]) == len(f"hello\n{said}\nmore")
    assert await count(previous_response_id=first["id"]) == len(f"hello\n{said}")
    items = [{"role": "user", "content": "abc"}]
    talk = (await service.http.post("/v1/conversations", json={"items": items})).json()["id"]
    assert await count(conversation=talk, input="d") == len("abc\nd")
    assert len((await service.http.get(f"/v1/conversations/{talk}/items")).json()["data"]) == 1, "nothing is kept"
    assert await count() == await count(conversation=None) == 0
    assert await count(instructions="be brief") == 8
    for body, status in (({"input": "x", "previous_response_id": "resp_no"}, 404), ({"input": 3}, 400)):
        assert (await service.http.post(f"{PATH}/input_tokens", json=body)).status_code == status


async def test_compaction_is_refused_for_good(service: Service) -> None:
    answer = await service.http.post(f"{PATH}/compact", json={"model": "quick", "input": "hello"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")
    assert answer.headers["x-should-retry"] == "false"
    nobody = await service.http.post(f"{PATH}/compact", json={}, headers={"authorization": "Bearer none"})
    assert nobody.status_code == 401
