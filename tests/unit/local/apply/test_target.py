"""What a file means beside what runs: memory that was planned is kept, and what cannot be changed is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.apply import target
from deployments.local.apply.cluster import Cluster
from deployments.local.memory.plan import GIB, MIB, Machine, needed_bytes
from deployments.local.memory.shares import with_memory
from deployments.local.service_document import model_applications, settings_of
from deployments.local.service_file import GUIDE, ServiceFile, read
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError

Document = dict[str, Any]
ROOMY = Machine(16 * GIB, 16 * GIB)


def service(tmp_path: Path, count: int = 1) -> ServiceFile:
    """Return the demo model's file, without a KV cache of its own, so often under other names."""
    document = yaml.safe_load(GUIDE.read_text())
    (guide,) = model_applications(document)
    document["applications"].remove(guide)
    for number in range(count):
        arguments: Document = {**guide["args"], "id": f"guide{number}", "environment": {}}
        arguments["engine"] = {**arguments["engine"]}  # or YAML would write one for all
        application = {**guide, "name": f"model-guide{number}", "args": arguments, "deployments": []}
        document["applications"].append(application)
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(document))
    return read(LauncherSettings(config=path, state=tmp_path))


def caches(found: ServiceFile) -> list[int | None]:
    return [one["args"]["engine"].get("kv_cache_memory_bytes") for one in model_applications(found.document)]


def leave(available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the running models have left so many bytes."""
    monkeypatch.setattr(target, "this_machine", lambda: Machine(available, 16 * GIB))


def test_a_model_that_is_as_it_was_keeps_its_memory_beside_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = with_memory(service(tmp_path), ROOMY)
    (before,) = caches(deployed)
    assert before
    leave(0, monkeypatch)
    assert caches(target.with_memory_beside(service(tmp_path), deployed.document)) == [before]
    two = service(tmp_path, 2)
    model_applications(two.document)[0]["args"]["engine"]["kv_cache_memory_bytes"] = before
    least = needed_bytes(settings_of(two.document), {}, ROOMY)
    leave(least - needed_bytes(deployed.settings, {}, ROOMY) + MIB, monkeypatch)
    kept, new = caches(target.with_memory_beside(service(tmp_path, 2), deployed.document))
    assert kept == before and new and new < before


def test_models_that_do_not_fit_beside_what_runs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = with_memory(service(tmp_path), ROOMY)
    leave(GIB, monkeypatch)
    with pytest.raises(LauncherError, match="fewer models"):
        target.with_memory_beside(service(tmp_path, 2), deployed.document)


def test_the_address_of_the_api_is_not_changed_while_it_runs() -> None:
    deployed: Document = {"http_options": {"host": "127.0.0.1", "port": 8000}, "applications": []}
    wanted = {"http_options": {"host": "0.0.0.0"}, "applications": []}
    with pytest.raises(LauncherError, match=r"http_options\.host is '0\.0\.0\.0' .* restart"):
        target.require_same_server(wanted, deployed, Path("f.yaml"))


@pytest.mark.parametrize("address", ["http://head:port", "head:8265", "http://", "ftp://head"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(LauncherError, match="is not the address of a dashboard"):
        Cluster(address, "")
