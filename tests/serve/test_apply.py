"""`chatllm apply` on a real service: in place, added, taken back, and refused."""

import asyncio
import subprocess
from collections.abc import Callable

import pytest
import yaml

from tests.launched import COMMAND, Launched
from tests.serve.redeployed import (
    Document,
    application,
    ask,
    changed,
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


async def apply(service: Launched, document: Document | None, *options: str) -> tuple[int, str]:
    """Write the file that the service was started with, and apply it; return the exit status and what was printed."""
    if document is not None:
        (service.folder / "service.yaml").write_text(yaml.safe_dump(document))
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, "apply", *options],
        env=service.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_change_in_place_a_new_model_and_one_that_is_removed(service: Launched) -> None:
    before, document = processes(service), service_file()
    assert (await apply(service, None, "--yes")) == (0, "Nothing to change: the service runs with this file.\n")
    ingress(document)["user_config"] = {"aliases": {"gpt-4o": "two"}}
    document["applications"].append(model("three", tokens=4))
    async with service.client() as http, load(service, "one", "two") as running:
        status, told = await apply(service, document)
        assert status == 1 and "confirm with --yes" in told
        assert (await ask(http, "gpt-4o")).status_code == 404
        status, told = await apply(service, None, "--yes")
        assert status == 0, told
        assert "in place  chatllm: Ingress.user_config" in told and "add       model-three" in told
        assert "2 applications unchanged." in told and "model-three: ready" in told and told.endswith("Done.\n")

        async def is_there() -> bool:
            answers = [await ask(http, name) for name in ("gpt-4o", "three")]
            return all(answer.status_code == 200 for answer in answers)

        await until(is_there, within_s=10)
        assert [one["name"] for one in deployed_document(service)["applications"]][-1] == "model-three"
        status, told = await apply(service, service_file(), "--yes")
        assert status == 0 and "remove    model-three" in told and "model-three: removed" in told, told

        async def is_gone() -> bool:
            return (await ask(http, "three")).status_code == 404

        await until(is_gone, within_s=10)
    assert running.failed == []
    assert processes(service) == before


async def test_what_fails_is_taken_back_and_nobody_notices(service: Launched) -> None:
    before, document = processes(service), service_file()
    application(document, "model-two")["args"]["fails_to_load"] = True
    ingress(document)["user_config"] = {"aliases": {"gpt-4o": "one"}}
    async with service.client() as http, load(service, "one", "two") as running:
        status, told = await apply(service, document, "--yes")
        assert status == 1, told
        assert "restart   model-two: args.fails_to_load; the old replicas answer until the new ones are ready" in told
        assert "The scripted model does not load, as its script says." in told.partition("model-two failed: ")[2]
        assert "Rolling back" in told and "model-two: ready" in told.partition("Rolling back")[2]

        async def is_as_before() -> bool:
            return (await ask(http, "gpt-4o")).status_code == 404 and processes(service) == before

        await until(is_as_before)
    assert running.failed == []
    assert "fails_to_load" not in application(deployed_document(service), "model-two")["args"]


async def test_what_is_late_is_taken_back(service: Launched) -> None:
    before, document = processes(service), service_file()
    document["applications"].append(model("late", load_s=3600))
    status, told = await apply(service, document, "--yes", "--timeout", "8")
    assert status == 1 and "model-late is not healthy after 8 s" in told and "model-late: removed" in told, told
    assert processes(service) == before


async def test_a_model_is_removed_from_the_file_and_from_what_runs(service: Launched) -> None:
    before, file = processes(service), service.folder / "service.yaml"
    assert (await apply(service, service_file(), "--yes"))[0] == 0
    told = await asyncio.to_thread(service.chatllm, "models", "remove", "two", "--yes", "--config", str(file))
    assert "Removed two from" in told and "remove    model-two" in told and told.endswith("Done.\n")
    assert set(processes(service)) == set(before) - {"model-two:model-two"}
    assert (await apply(service, service_file(), "--yes"))[0] == 0
    async with service.client() as http:

        async def is_back() -> bool:
            return (await ask(http, "two")).status_code == 200

        await until(is_back)


def cycle(document: Document) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        application(document, f"model-{name}")["args"]["fallback"] = [other]


WRONG: list[tuple[Callable[[Document], object], str]] = [
    (lambda document: document["applications"].append(model("one")), "model ids must be unique"),
    (lambda document: application(document, "model-one")["args"].update(tokens=-1), "tokens: Input should be"),
    (lambda document: cycle(document), "fallback: one -> two -> one is a cycle: take one of them out"),
    (
        lambda document: ingress(document).update(ray_actor_options={"num_cpus": 4000}),
        "the replicas need num_cpus 4000",
    ),
    (lambda document: application(document, "model-one").update(argz={}), "argz: Serve knows no such field"),
    (lambda document: application(document, "chatllm").update(name="other"), "the running one 'chatllm'"),
    (lambda document: ingress(document).update(num_replicas=-1), "num_replicas"),
    (lambda document: ingress(document).update(user_config={"default_model": "x"}), "default_model 'x' is not"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG)
async def test_a_wrong_file_changes_nothing(
    service: Launched, change: Callable[[Document], object], sentence: str
) -> None:
    before, document = processes(service), changed(service_file())
    change(document)
    deployed = deployed_document(service)
    status, told = await apply(service, document, "--yes")
    assert status == 1 and sentence in told and "service.yaml" in told, told
    assert (processes(service), deployed_document(service)) == (before, deployed)
