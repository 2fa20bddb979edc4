"""The README names every setting, so that none is hidden in the code."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from deployments.config import ProviderModel, ScriptedModel, Settings, VLLMModel
from deployments.local.settings import LauncherSettings

ROOT = Path(__file__).parents[2]
STRIPPED = "\"',():[]."
README = (ROOT / "README.md").read_text()


def names(model: type[BaseModel], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found += names(field.annotation, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("name", [*names(Settings), *names(VLLMModel), *names(ScriptedModel), *names(ProviderModel)])
def test_every_setting_is_named(name: str) -> None:
    assert f"`{name}`" in README


def test_every_variable_of_the_environment_is_named() -> None:
    source = (ROOT / "deployments/local/settings.py").read_text() + (ROOT / "ui/settings.py").read_text()
    variables = {word.strip(STRIPPED) for word in source.split() if word.strip(STRIPPED).startswith("CHATLLM_")}
    assert {name for name in variables if f"`{name}`" not in README} == set()


@pytest.mark.parametrize("model", [Settings, VLLMModel, ScriptedModel, ProviderModel, LauncherSettings])
def test_every_setting_describes_itself(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert nested or name == "kind" or field.description, name


def test_every_link_leads_somewhere() -> None:
    targets = [part.split(")")[0] for part in README.split("](")[1:]]
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
