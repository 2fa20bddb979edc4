"""Replicas are replaced, taken away and stopped under load: no answer is refused, cut or said twice by that."""

import asyncio
import itertools

import pytest
import yaml

from tests.launched import COMMAND, Launched
from tests.serve.open_loop import open_loop
from tests.serve.redeployed import (
    Document,
    application,
    changed,
    deploy,
    deployed_document,
    model,
    processes,
    service_file,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKENS, TOKEN_MS = 200, 20
STOP_S = 4
"""How long a model replica may take to stop: less than an answer takes, so that answers are handed over."""


def service() -> Document:
    document = service_file()
    document["applications"][1:] = [model("slow", tokens=TOKENS, token_ms=TOKEN_MS)]
    deployment = document["applications"][1]["deployments"][0]
    deployment |= {"num_replicas": 2, "graceful_shutdown_timeout_s": STOP_S, "ray_actor_options": {"num_cpus": 0.05}}
    return document


SERVICE_FILE = service()


async def apply(service: Launched, document: Document) -> str:
    """Change the running service; return what was told once it was done."""
    (service.folder / "service.yaml").write_text(yaml.safe_dump(document))
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "apply",
        "--yes",
        env=service.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told
    return told


def turned(document: Document, number: int) -> Document:
    """Change a setting of every application that no answer depends on, but every process."""
    application(document, "chatllm")["args"]["key_limits"] = {"timeout_s": 2 + number / 10}
    application(document, "model-slow")["args"]["writes_titles"] = bool(number % 2)
    return document


async def test_five_redeploys_of_everything_under_load(service: Launched) -> None:
    document, seen = changed(SERVICE_FILE), [processes(service)]
    async with open_loop(service, "slow", TOKENS, every_s=0.6) as load:
        for number in range(1, 6):
            told = await apply(service, turned(document, number))
            assert "finish their answers in the background" in told
            seen.append(processes(service))
    assert load.failed == []
    assert min(load.done[kind.__name__] for kind in load.kinds()) >= 5, load.done
    for before, after in itertools.pairwise(seen):
        assert all(after[place] - before[place] for place in before), (before, after)


async def test_full_replicas_are_taken_away(service: Launched) -> None:
    """As the autoscaler does: the replicas that go have more to say than they have time."""
    document = changed(deployed_document(service))
    deployment = application(document, "model-slow")["deployments"][0]
    async with open_loop(service, "slow", TOKENS, every_s=0.6) as load:
        for replicas in (3, 1):
            deployment["num_replicas"] = replicas
            await deploy(service, document)

            async def is_so(replicas: int = replicas) -> bool:
                return len(processes(service)["model-slow:model-slow"]) == replicas

            await until(is_so)
            await asyncio.sleep(TOKENS * TOKEN_MS / 1000)  # as many answers as they will have
    assert load.failed == []
    assert min(load.done[kind.__name__] for kind in load.kinds()) >= 3, load.done
