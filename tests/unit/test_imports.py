"""Who may import whom: what speaks to the service over HTTP knows nothing of its inside."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"ui": {"deployments", "loadtests", "tests"}, "loadtests": {"deployments", "ui", "tests"}}
LOGIC_OF_THE_PAGE = ["api", "state", "files", "markdown"]
MEASURES_THE_TRANSPORT = "transports.py"
"""A benchmark of `deployments.infra.transport` alone, without the service around it."""
PAGE_MODULES_OF_THE_LAUNCHER = {"ui.auth.links", "ui.settings"}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports anywhere, by a statement or by their names in a call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def is_measured(path: Path, module: str) -> bool:
    return path.name == MEASURES_THE_TRANSPORT and module.startswith("deployments.infra.transport.")


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_what_speaks_http_does_not_import_the_service(package: str) -> None:
    found = {f"{path}: {name}" for path in files(package) for name in imported(path)
             if name.partition(".")[0] in FORBIDDEN[package] and not is_measured(path, name)}  # fmt: skip
    assert files(package) and found == set()


def test_the_service_imports_no_page_and_the_launcher_no_more_than_its_links() -> None:
    found = {name for path in files("deployments") for name in imported(path) if name.partition(".")[0] == "ui"}
    assert found == PAGE_MODULES_OF_THE_LAUNCHER
    inside = [path for path in files("deployments") if "local" not in path.parts]
    assert not any(name.partition(".")[0] in ("ui", "loadtests", "tests") for p in inside for name in imported(p))


@pytest.mark.parametrize("package", LOGIC_OF_THE_PAGE)
def test_the_logic_of_the_page_imports_no_widget(package: str) -> None:
    allowed = {f"ui.{name}" for name in (*LOGIC_OF_THE_PAGE, "settings", "i18n")}
    found = {
        f"{path}: {name}"
        for path in files(f"ui/{package}")
        for name in imported(path)
        if name.partition(".")[0] == "nicegui"
        or (name.partition(".")[0] == "ui" and ".".join(name.split(".")[:2]) not in allowed)
    }
    assert files(f"ui/{package}") and found == set()


def test_an_import_in_a_call_or_a_function_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "sly.py"
    path.write_text("def f():\n    import a.b\n    from c import d\n    importlib.import_module('e.f')\n")
    assert set(imported(path)) == {"a.b", "c", "e.f"}
