"""The models that are deployed are followed, whatever the controller and the arguments are like."""

from collections.abc import Sequence
from typing import Any

from deployments.infra.ray.applications import DeployedApplication
from deployments.models.directory import DeployedModel, ModelDirectory


def application(name: str, **args: Any) -> DeployedApplication:
    return DeployedApplication(f"model-{name}", "deployments.app:build_model", {"id": name, "kind": "scripted", **args})


MAIN = DeployedApplication("chatllm", "deployments.app:build_app", {})


class Configuration:
    """What is deployed, as a test says."""

    def __init__(self, *applications: DeployedApplication) -> None:
        self.deployed: Sequence[DeployedApplication] = applications
        self.is_silent = False

    async def applications(self, timeout_s: float) -> Sequence[DeployedApplication]:
        if self.is_silent:
            raise TimeoutError
        return self.deployed

    async def aclose(self) -> None: ...


class Seen:
    """The models that were told, each time."""

    def __init__(self, configuration: Configuration) -> None:
        self.told: list[list[DeployedModel]] = []
        self.directory = ModelDirectory(configuration, lambda models: self.told.append(list(models)))

    @property
    def last(self) -> dict[str, str]:
        return {model.settings.id: model.problem for model in self.told[-1]}


async def test_changes_are_told_once_and_another_argument_is_another_identity() -> None:
    deployed = Configuration(MAIN, application("one"), application("two"))
    seen = Seen(deployed)
    for _ in range(2):
        await seen.directory.refresh()
    assert [*seen.last] == ["one", "two"] and len(seen.told) == 1
    deployed.deployed = (MAIN, application("two", tokens=5))
    await seen.directory.refresh()
    assert [*seen.last] == ["two"]
    before, after = ({m.settings.id: m.identities for m in told}["two"] for told in seen.told)
    assert before != after


async def test_while_the_controller_is_silent_what_was_known_stays() -> None:
    deployed = Configuration(application("one"))
    seen = Seen(deployed)
    await seen.directory.refresh()
    deployed.is_silent = True
    await seen.directory.refresh()
    assert len(seen.told) == 1


async def test_wrong_arguments_are_told_and_hurt_no_other() -> None:
    deployed = Configuration(application("bad", tokens="many"), application("one"), application("", kind="magic"))
    seen = Seen(deployed)
    await seen.directory.refresh()
    assert seen.last["one"] == "" and "tokens" in seen.last["bad"] and "kind" in seen.last["model-"]


async def test_a_model_whose_new_arguments_are_wrong_is_served_as_it_was() -> None:
    deployed = Configuration(application("one", tokens=5))
    seen = Seen(deployed)
    await seen.directory.refresh()
    deployed.deployed = (application("one", tokens="many"),)
    await seen.directory.refresh()
    assert len(seen.told) == 1


async def test_it_follows_from_its_opening_on() -> None:
    seen = Seen(Configuration(application("one")))
    await seen.directory.open()
    assert [*seen.last] == ["one"]
    await seen.directory.aclose()
