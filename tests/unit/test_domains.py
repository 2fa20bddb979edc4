"""Which domain of the service may import which, and which of its modules are for the others.

`api` and `local` compose: they may import every domain, and the stores that only they create. A new import between
two domains fails here, with the names of both modules, until it is put into the table or found to be needless.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
EVERYWHERE = {"config", "errors", "infra"}
COMPOSING = {"api", "local", "app"}
MAY_IMPORT: dict[str, set[str]] = {
    "batches": {"files", "history"},
    "cache": {"models"},
    "chat": {"cache", "limits", "lora", "models", "queueing"},
    "files": {"history"},
    "history": {"chat", "keys"},
    "keys": {"history", "queueing"},
    "limits": {"keys", "models"},
    "hub": {"models"},
    "lora": {"hub", "models"},
    "messages": {"chat", "models"},
    "metrics": {"batches", "chat"},
    "models": {"limits", "lora", "metrics", "queueing"},
    "queueing": set(),
    "responses": {"cache", "chat", "history", "limits", "models", "queueing"},
    "streams": {"cache", "chat", "models"},
    "usage": {"history"},
    "users": {"history", "keys"},
    "weights": set(),
}
"""Besides `config`, `errors` and `infra`, which every domain may import."""
PUBLIC: dict[str, set[str]] = {
    "batches": {"batches.types"},
    "cache": {
        "cache.claims",
        "cache.entry",
        "cache.gathering",
        "cache.key",
        "cache.prefix",
        "cache.remote",
        "cache.replay",
        "cache.steering",
    },
    "chat": {
        "chat.call",
        "chat.continuation",
        "chat.cost",
        "chat.generation",
        "chat.parameters",
        "chat.peers",
        "chat.ports",
        "chat.service",
        "chat.summary",
    },
    "files": {"files.memory", "files.store", "files.types", "files.writing"},
    "history": {
        "history.memory",
        "history.postgres",
        "history.readable",
        "history.store",
        "history.tool_items",
        "history.types",
        "history.wire",
        "history.writer",
    },
    "keys": {"keys.accounts", "keys.memory", "keys.postgres", "keys.store", "keys.types"},
    "limits": {"limits.estimate"},
    "hub": {"hub.errors", "hub.pull"},
    "lora": {"lora.download", "lora.files", "lora.types"},
    "metrics": {"metrics.failovers", "metrics.gathered", "metrics.grammars", "metrics.held", "metrics.queues"},
    "models": {
        "models.adapters",
        "models.affinity",
        "models.assembly",
        "models.bounds",
        "models.catalogue",
        "models.delivery.listener",
        "models.delivery.sender",
        "models.delivery.wire",
        "models.files.hub_cache",
        "models.files.safetensors_header",
        "models.holding",
        "models.media",
        "models.protocol",
        "models.scaling.process_load",
    },
    "queueing": {"queueing.gate", "queueing.job", "queueing.leasing", "queueing.queue", "queueing.shares"},
}
"""The modules of a domain that other domains import; all else of it is its own."""


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of `deployments` that a file imports, without that prefix."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("deployments.") for a in node.names if a.name.startswith("deployments."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("deployments"):
            module = str(node.module).removeprefix("deployments").removeprefix(".")
            yield from (found for alias in node.names if (found := _module(module, alias.name)))


def _module(module: str, name: str) -> str:
    """Return the module that `from module import name` is about."""
    inner = f"{module}.{name}".removeprefix(".")
    path = DEPLOYMENTS / inner.replace(".", "/")
    return inner if path.is_dir() or path.with_suffix(".py").exists() else module


def crossings(domain: str) -> set[tuple[str, str]]:
    """Return the pairs of modules of which the first, in `domain`, imports the second, of another domain."""
    paths = sorted((DEPLOYMENTS / domain).rglob("*.py"))
    assert paths
    pairs = {(str(path.relative_to(DEPLOYMENTS)), module) for path in paths for module in imports(path)}
    return {(path, module) for path, module in pairs if module and module.split(".")[0] != domain}


def test_every_domain_is_in_the_table() -> None:
    folders = {path.parent.name for path in DEPLOYMENTS.glob("*/__init__.py")}
    assert folders == MAY_IMPORT.keys() | EVERYWHERE - {"errors"} | COMPOSING - {"app"}


@pytest.mark.parametrize("domain", MAY_IMPORT)
def test_a_domain_imports_no_other_than_the_table_says(domain: str) -> None:
    allowed = MAY_IMPORT[domain] | EVERYWHERE
    assert {pair for pair in crossings(domain) if pair[1].split(".")[0] not in allowed} == set()


@pytest.mark.parametrize("domain", MAY_IMPORT)
def test_a_domain_imports_public_modules_of_the_others(domain: str) -> None:
    others = {pair for pair in crossings(domain) if pair[1].split(".")[0] not in EVERYWHERE}
    assert {(path, module) for path, module in others if module not in PUBLIC[module.split(".")[0]]} == set()


def test_the_tables_name_nothing_that_is_not_used() -> None:
    used = {module for domain in MAY_IMPORT for _, module in crossings(domain)}
    assert {module for modules in PUBLIC.values() for module in modules} - used == set()
    between = {(domain, module.split(".")[0]) for domain in MAY_IMPORT for _, module in crossings(domain)}
    assert {(domain, other) for domain, others in MAY_IMPORT.items() for other in others} - between == set()


def test_infra_imports_no_domain() -> None:
    assert {pair for pair in crossings("infra") if pair[1].split(".")[0] not in ("config", "errors")} == set()


def test_no_domain_imports_the_launcher() -> None:
    found = {pair for domain in ("api", *MAY_IMPORT) for pair in crossings(domain) if pair[1].startswith("local.")}
    assert found == set()
