"""Changes of a conversation that somebody else changes too: the API's precondition, and the page's processes."""

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.unit.api.conftest import Service
from ui.api.client import Api

PATH = "/v1/conversations"


async def test_a_change_of_what_has_changed_meanwhile_is_refused(service: Service) -> None:
    made = await service.http.post(PATH, json={"metadata": {"a": "1"}})
    path, tag = f"{PATH}/{made.json()['id']}", made.headers["etag"]
    assert (await service.http.get(path)).headers["etag"] == tag
    first = await service.http.post(path, json={"metadata": {"b": "2"}}, headers={"if-match": tag})
    late = await service.http.post(path, json={"metadata": {"c": "3"}}, headers={"if-match": tag})
    assert (first.status_code, late.status_code) == (200, 412)
    assert late.json()["error"]["code"] == "precondition_failed" and late.headers["x-should-retry"] == "false"
    whatever = await service.http.post(path, json={"metadata": {"d": "4"}}, headers={"if-match": "*"})
    assert whatever.status_code == 200
    assert (await service.http.post(path, json={"title": "t"})).json()["metadata"] == {"d": "4"}


async def test_two_processes_of_the_page_keep_each_others_settings(service: Service) -> None:
    key = service.http.headers["authorization"].removeprefix("Bearer ")

    async def read() -> str:
        return key

    settings: Any = SimpleNamespace(api_url=service.url, api_key=SimpleNamespace(read=read, forget=lambda: None))
    processes = [Api(settings), Api(settings)]
    made = await processes[0].create_conversation(metadata={"kept": "yes"})
    changes = [processes[n % 2].keep(made.id, lambda known, n=n: known | {f"n{n}": "set"}) for n in range(12)]
    await asyncio.gather(*changes)
    found = (await service.http.get(f"{PATH}/{made.id}")).json()["metadata"]
    assert found == {"kept": "yes"} | {f"n{n}": "set" for n in range(12)}
    for process in processes:
        await process.aclose()
