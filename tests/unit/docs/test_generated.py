"""The reference pages are made from the code, and nothing of it is left out."""

from collections.abc import Mapping

import pytest
import typer
from pydantic import BaseModel
from ray.util.metrics import Metric

from deployments.config import LoRAModule, ProviderModel, ScriptedModel, Settings, VLLMModel
from deployments.errors import ChatLLMError
from deployments.local.cli import app
from deployments.local.settings import LauncherSettings
from deployments.metrics import failovers, grammars, held, queues
from deployments.metrics.telemetry import Telemetry
from deployments.models.scaling.autoscaler import ModelAutoscaler
from docs.generate import PAGES, REFERENCE, api, cli, errors, metrics, settings, text_of
from docs.generate.markdown import table

MODELS = (Settings, VLLMModel, ScriptedModel, ProviderModel, LoRAModule)
NAMES = {name for model in MODELS for name, _ in settings.fields(model)} - {"kind"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    assert (REFERENCE / name).read_text() == text_of(name), "run `make docs` and commit docs/reference"


@pytest.mark.parametrize("model", [*MODELS, LauncherSettings])
def test_every_setting_describes_itself(model: type[BaseModel]) -> None:
    assert [name for name, field in settings.fields(model) if name != "kind" and not field.description] == []


def test_every_setting_has_a_row() -> None:
    page = text_of("settings.md")
    assert {"models", "cache.semantic.model", "engine", "cache.ttl_s"} <= NAMES
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []


def test_units_bounds_and_defaults_are_shown() -> None:
    page = text_of("settings.md")
    assert "| `history.pool_size` | `10` | Connections to Postgres" in page
    assert "(integer, at least 1) |" in page
    assert "| `engine` | required | Any field" in page


def test_every_command_and_option_is_shown() -> None:
    page = text_of("cli.md")
    commands = dict(cli.commands("chatllm", typer.main.get_command(app)))
    assert "chatllm keys create" in commands
    for name, command in commands.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        options = [option for part in command.params if not getattr(part, "hidden", False) for option in part.opts]
        assert [option for option in options if option.startswith("--") and f"`{option}`" not in section] == [], name
        assert command.help, f"{name} does not say what it does"


def test_every_target_of_the_makefile_is_shown() -> None:
    page = text_of("cli.md")
    assert {"serve", "test-unit", "docs"} <= dict(cli.targets()).keys()
    assert [name for name, _ in cli.targets() if f"`make {name}`" not in page] == []


def test_metrics_are_those_that_the_code_makes() -> None:
    telemetry = Telemetry()
    both = (*vars(telemetry).values(), *vars(telemetry.batches).values())
    made = [metric for metric in both if isinstance(metric, Metric)]
    made += [*grammars._counters(), held._gauge(), failovers._counter(), *queues._gauges(), queues._refusals()]
    made += [metric for metric in vars(ModelAutoscaler()).values() if isinstance(metric, Metric)]
    found = {metric.name: (metric.description, metric.labels) for metric in metrics.found()}
    assert {m.info["name"]: (m.info["description"], tuple(m.info["tag_keys"])) for m in made} == found


def test_every_error_has_its_row() -> None:
    page, found = text_of("errors.md"), list(errors.every())
    assert ChatLLMError in found
    assert len(found) > 25
    assert [error for error in found if f"| {error.status} | `{error.code}` |" not in page] == []


def test_every_endpoint_is_shown() -> None:
    page = text_of("api.md").replace("\\{", "{")
    shown: Mapping[tuple[str, str], bool] = {
        (method, path): f"### {method} {path}\n" in page or f"`{path}`" in page for method, path, _ in api.operations()
    }
    assert ("POST", "/v1/chat/completions") in shown
    assert [key for key, is_shown in shown.items() if not is_shown] == []


def test_cells_hold_neither_bars_nor_line_breaks() -> None:
    assert table(("a",), [("x | y\nz",)]).splitlines()[-1] == "| x \\| y z |"
