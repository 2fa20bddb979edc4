"""The documentation names everything there is, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STRIPPED = "\"',():[]."
WRITTEN = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PATH = re.compile(r"`((?:configs|deployments|docs|loadtests|tests|ui)/[\w./-]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_every_variable_of_the_environment_is_named() -> None:
    source = (ROOT / "deployments/local/settings.py").read_text() + (ROOT / "ui/settings.py").read_text()
    variables = {word.strip(STRIPPED) for word in source.split() if word.strip(STRIPPED).startswith("CHATLLM_")}
    page = (ROOT / "docs/reference/environment.md").read_text()
    assert "CHATLLM_PORT" in variables
    assert {name for name in variables if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("page", [*WRITTEN, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [*WRITTEN, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    names = [str(page.relative_to(ROOT / "docs")) for page in PAGES]
    assert [name for name in names if name not in navigation] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_test_that_is_named_for_a_fault_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs/explanation/faults.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert not missing
