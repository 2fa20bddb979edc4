"""The service file changes under a running service: what is untouched goes on, and nobody who uses it notices."""

import asyncio
import time

import httpx
import pytest

from tests.launched import Launched
from tests.serve.redeployed import (
    CHAT,
    HELLO,
    application,
    ask,
    changed,
    deploy,
    deployed_document,
    ingress,
    load,
    model,
    processes,
    service_file,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SERVICE_FILE = service_file()


async def test_names_limits_and_the_log_level_change_in_place(service: Launched) -> None:
    before, document = processes(service), changed(deployed_document(service))
    assert set(before) == {"chatllm:Ingress", "chatllm:CacheLookup", "model-one:model-one", "model-two:model-two"}
    ingress(document)["user_config"] = {
        "aliases": {"gpt-4o": "two"},
        "limits": {"max_messages": 3},
        "log_level": "DEBUG",
        "cors": {"allow_origins": ["https://app.example.org"]},
        "models": {"two": {"writes_titles": False}},
    }
    async with service.client() as http, load(service, "one", "two") as running:
        assert (await ask(http, "gpt-4o")).status_code == 404
        await until(lambda: _has_answered(running, 30))
        await deploy(service, document)
        began = time.monotonic()

        async def is_known() -> bool:
            return (await ask(http, "gpt-4o")).status_code == 200

        await until(is_known)
        assert time.monotonic() - began < 3
        too_many = {"model": "one", "messages": HELLO["messages"] * 4}
        assert (await http.post(CHAT, json=too_many)).status_code == 400
        shown = {one["id"]: one for one in (await http.get("/v1/models")).json()["data"]}
        assert (shown["two"]["writes_titles"], shown["one"]["writes_titles"]) == (False, True)
        answer = await http.get("/health", headers={"origin": "https://app.example.org"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        goal = running.answered.total() + 30
        await until(lambda: _has_answered(running, goal))
    assert running.failed == []
    assert processes(service) == before


async def _has_answered(running: object, number: int) -> bool:
    return running.answered.total() >= number  # type: ignore[attr-defined]


async def test_a_wrong_user_config_changes_nothing_and_is_told_to_administrators(service: Launched) -> None:
    before, document = processes(service), changed(deployed_document(service))
    admin = service.chatllm("keys", "create", "reader", "--admin").strip()
    async with service.client() as http, load(service, "one") as running:
        ingress(document)["user_config"] = {"aliases": {"gpt-4o": "two"}}
        await deploy(service, document)

        async def is_known() -> bool:
            return (await ask(http, "gpt-4o")).status_code == 200

        await until(is_known)
        ingress(document)["user_config"] = {"aliases": {}, "limits": {"max_messages": "many"}}
        await deploy(service, document)

        async def is_told() -> bool:
            answer = await http.get("/ready", headers={"authorization": f"Bearer {admin}"})
            return bool(answer.json().get("problems"))

        await until(is_told)
        told = (await http.get("/ready", headers={"authorization": f"Bearer {admin}"})).json()
        assert "limits.max_messages" in told["problems"][0]
        assert "problems" not in (await http.get("/ready")).json()
        assert (await ask(http, "gpt-4o")).status_code == 200, "what was set before stays in force"
        del ingress(document)["user_config"]
        await deploy(service, document)

        async def is_right_again() -> bool:
            return not await is_told() and (await ask(http, "gpt-4o")).status_code == 404

        await until(is_right_again)
    assert running.failed == []
    assert processes(service) == before


async def test_a_model_comes_and_another_goes(service: Launched) -> None:
    before, document = processes(service), changed(deployed_document(service))
    document["applications"].append(model("three", tokens=8))
    async with service.client() as http, load(service, "one") as running:
        assert (await ask(http, "three")).status_code == 404
        await deploy(service, document)
        began = time.monotonic()

        async def is_listed() -> bool:
            return "three" in [one["id"] for one in (await http.get("/v1/models")).json()["data"]]

        await until(is_listed)
        assert time.monotonic() - began < 3

        async def answers() -> bool:
            return (await ask(http, "three")).status_code == 200

        await until(answers)
        stream = {"model": "two", **HELLO, "stream": True, "max_tokens": 400, "seed": 1}
        async with http.stream("POST", CHAT, json={**stream, "max_tokens": 16}) as response:
            parts = response.aiter_lines()
            await anext(parts)
            document["applications"].remove(application(document, "model-two"))
            await deploy(service, document)
            rest = [line async for line in parts if line]
        assert rest[-1] == "data: [DONE]"

        async def is_gone() -> bool:
            return (await ask(http, "two")).status_code == 404

        await until(is_gone)
        assert "two" not in [one["id"] for one in (await http.get("/v1/models")).json()["data"]]
    assert running.failed == []
    after = processes(service)
    untouched = ("chatllm:Ingress", "chatllm:CacheLookup", "model-one:model-one")
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    await deploy(service, deployed_document(service))
    async with service.client() as http:

        async def is_back() -> bool:
            return (await ask(http, "two")).status_code == 200

        await until(is_back)


async def test_a_request_that_is_held_for_a_model_that_goes_is_refused(service: Launched) -> None:
    document = deployed_document(service)
    document["applications"].append(model("four", load_s=60))
    async with service.client() as http:
        await deploy(service, document)

        async def is_held() -> bool:
            told = (await http.get("/ready")).json()["models"]
            return any(one["id"] == "four" and one["status"] == "loading" for one in told)

        await until(is_held)
        held = asyncio.create_task(ask(http, "four"))
        await asyncio.sleep(1)
        assert not held.done()
        await deploy(service, deployed_document(service))
        refused = await asyncio.wait_for(held, 15)
    assert refused.status_code == 404, refused.text
    assert refused.json()["error"]["code"] == "model_not_found"


async def test_another_argument_replaces_the_replicas_of_that_model_alone(service: Launched) -> None:
    before, document = processes(service), changed(deployed_document(service))
    application(document, "model-two")["args"] |= {"tokens": 5, "load_s": 4}  # meanwhile the old replica answers
    async with service.client() as http, load(service, "one", "two") as running:
        assert (await ask(http, "two", seed=7)).headers["x-cache"] == "MISS"
        await until(lambda: _has_answered(running, 20))
        await deploy(service, document)

        async def is_other() -> bool:
            answer = await ask(http, "two")
            return answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 5

        async def is_of_the_old() -> bool:
            """Whether it is the old replica's answer to a model that is known to be another one by now."""
            answer = await ask(http, "two", seed=7)
            return answer.headers["x-cache"] == "MISS" and answer.json()["usage"]["completion_tokens"] == 16

        await until(is_of_the_old)
        await until(is_other)

        async def is_replaced() -> bool:
            return not processes(service)["model-two:model-two"] & before["model-two:model-two"]

        await until(is_replaced)
        answer = await ask(http, "two", seed=7)
        assert answer.headers["x-cache"] == "MISS", "an answer of the model as it was"
        assert answer.json()["usage"]["completion_tokens"] == 5
    assert running.failed == []
    after = processes(service)
    untouched = set(before) - {"model-two:model-two"}
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}


async def test_wrong_arguments_of_one_model_hurt_no_other(service: Launched) -> None:
    before, document = processes(service), changed(deployed_document(service))
    await deploy(service, document)
    document["applications"].append(model("four", tokens="many"))
    admin = service.chatllm("keys", "create", "reader2", "--admin").strip()
    async with service.client() as http, load(service, "one") as running:
        await deploy(service, document)

        async def has_failed() -> bool:
            models = (await http.get("/ready", headers={"authorization": f"Bearer {admin}"})).json()["models"]
            found = [one for one in models if one["id"] == "four"]
            return bool(found) and found[0]["status"] == "failed" and "tokens" in found[0]["reason"]

        await until(has_failed)
        assert (await ask(http, "four")).status_code == 503
    assert running.failed == []
    assert processes(service)["model-one:model-one"] == before["model-one:model-one"]
    await deploy(service, deployed_document(service))


async def test_a_cached_answer_survives_what_does_not_concern_its_model(service: Launched) -> None:
    document = changed(deployed_document(service))
    async with service.client() as http:
        await until(lambda: _is(http, "HIT", 11))
        ingress(document)["user_config"] = {"aliases": {"another": "one"}}
        document["applications"].append(model("five"))
        await deploy(service, document)

        async def is_there() -> bool:
            return (await ask(http, "five")).status_code == 200 and (await ask(http, "another")).status_code == 200

        await until(is_there)
        assert await _is(http, "HIT", 11)
        before = processes(service)["chatllm:Ingress"]
        application(document, "chatllm")["args"]["usage"] = {"flush_s": 1}  # a new ingress, which remembers nothing
        await deploy(service, document)

        async def is_new() -> bool:
            return not processes(service).get("chatllm:Ingress", before) & before

        await until(is_new)
        await until(lambda: _is(http, "HIT", 11), within_s=10)


async def _is(http: httpx.AsyncClient, what: str, seed: int) -> bool:
    answer = await ask(http, "one", seed=seed)
    await asyncio.sleep(0)
    return answer.headers.get("x-cache") == what


async def test_a_file_with_its_models_in_one_application_still_works(service: Launched) -> None:
    document = changed(deployed_document(service))
    (main, *models) = document["applications"]
    main["args"] |= {"models": [one["args"] for one in models], "aliases": {"another": "two"}}
    main["deployments"] += [one["deployments"][0] for one in models]
    document["applications"] = [main]
    await deploy(service, document)
    async with service.client() as http:

        async def answers() -> bool:
            places = set(processes(service))
            return places == {f"chatllm:{one['name']}" for one in main["deployments"]} and (
                (await ask(http, "another", seed=3)).status_code == (await ask(http, "one", seed=3)).status_code == 200
            )

        await until(answers, within_s=120)
        assert [one["id"] for one in (await http.get("/v1/models")).json()["data"]] == ["one", "two", "another"]
        assert (await ask(http, "two", seed=3)).headers["x-cache"] == "HIT", "by its alias, a moment ago"
