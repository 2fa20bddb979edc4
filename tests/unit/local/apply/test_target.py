"""What a file means beside what runs: memory that was planned is kept, and what cannot be changed is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.apply import target
from deployments.local.memory.plan import GIB, Machine
from deployments.local.memory.shares import with_memory
from deployments.local.service_document import model_applications
from deployments.local.service_file import GUIDE, ServiceFile, read
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError

Document = dict[str, Any]
ROOMY = Machine(16 * GIB, 16 * GIB)


def service(tmp_path: Path, count: int = 1, **engine: Any) -> ServiceFile:
    """Return the demo model's file, without a KV cache of its own, so often under other names."""
    document = yaml.safe_load(GUIDE.read_text())
    (guide,) = model_applications(document)
    document["applications"].remove(guide)
    for number in range(count):
        arguments = {**guide["args"], "id": f"guide{number}", "environment": {}}
        arguments["engine"] = {**arguments["engine"], **engine}
        application = {**guide, "name": f"model-guide{number}", "args": arguments, "deployments": []}
        document["applications"].append(application)
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(document))
    return read(LauncherSettings(config=path, state=tmp_path))


def caches(found: ServiceFile) -> list[int | None]:
    return [one["args"]["engine"].get("kv_cache_memory_bytes") for one in model_applications(found.document)]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which the running models have left little."""
    monkeypatch.setattr(target, "this_machine", lambda: Machine(int(2.2 * GIB), 16 * GIB))


@pytest.mark.usefixtures("full")
def test_a_model_that_is_as_it_was_keeps_its_memory_beside_a_new_one(tmp_path: Path) -> None:
    deployed = with_memory(service(tmp_path), ROOMY)
    (before,) = caches(deployed)
    assert before
    assert caches(target._with_memory(service(tmp_path), deployed.document)) == [before]
    kept, new = caches(target._with_memory(service(tmp_path, 2), deployed.document))
    assert kept == before and new


@pytest.mark.usefixtures("full")
def test_models_that_do_not_fit_beside_what_runs_are_refused(tmp_path: Path) -> None:
    deployed = with_memory(service(tmp_path), ROOMY)
    with pytest.raises(LauncherError, match="fewer models"):
        target._with_memory(service(tmp_path, 4), deployed.document)


def test_the_address_of_the_api_is_not_changed_while_it_runs() -> None:
    deployed: Document = {"http_options": {"host": "127.0.0.1", "port": 8000}, "applications": []}
    wanted = {"http_options": {"host": "0.0.0.0"}, "applications": []}
    with pytest.raises(LauncherError, match=r"http_options\.host is '0\.0\.0\.0' .* restart"):
        target._require_same_server(wanted, deployed, Path("f.yaml"))
