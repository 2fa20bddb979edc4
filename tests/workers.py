"""Which tests run beside others, start services, import the engine or run alone, and who goes first in workers."""

import os
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

FOLDERS = ["cluster", "e2e", "serve", "integration", "ui", "unit"]
"""What takes longest comes first, and the small files of the unit tests fill the workers' last minutes."""
PARTS = ("beside", "services", "engine", "alone")
SERVICES = {"cluster", "e2e", "serve"}
"""The folders whose tests start clusters, engines and browsers."""
SHARING = ("tests/e2e/product",)
"""Folders whose files share what a fixture of the folder starts, and so a worker."""
ENGINE = re.compile(
    r"^\s*(?:from|import) "
    r"(?:vllm|torch|transformers|xgrammar|tests\.vllm_reader|tests\.unit\.(?:models\.vllm|api\.test_continuing))\b",
    re.MULTILINE,
)
"""To import it takes several seconds. Workers collect all tests, so that each would pay, whichever tests it runs."""

HAS_ENGINE = pytest.StashKey[bool]()
"""Whether the engine was imported while the tests were collected."""


def add_option(parser: pytest.Parser) -> None:
    """Declare the option that chooses a part of the tests."""
    parser.addoption(
        "--part",
        choices=PARTS,
        help="run the tests that others may run beside, that start services, that import the engine, or that run alone",
    )


class Scheduling(LoadFileScheduling):
    """Runs the tests of a file in one worker, which sets its fixtures up once; or those of a folder that shares."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = file.rpartition("/")[0]
        return folder if folder in SHARING else file


class Elsewhere(pytest.Module):
    """A file whose tests are all in other parts. It is not imported."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return []


def module_without_tests(path: Path, parent: pytest.Collector) -> Elsewhere | None:
    """Return an empty module for a file that has no test of the chosen part, else nothing."""
    config = parent.config
    names_a_test = any("::" in argument for argument in config.args)  # pytest refuses a test that it cannot find
    if names_a_test or not _is_elsewhere(config.getoption("part"), path, config.rootpath):
        return None
    return Elsewhere.from_parent(parent, path=path)  # pyright: ignore[reportUnknownMemberType]


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of the chosen part; in a worker, put those first that take longest."""
    config.stash[HAS_ENGINE] = not sys.modules.keys().isdisjoint(("vllm", "torch"))
    if part := config.getoption("part"):
        chosen = [item for item in items if _part(item) == part]
        config.hook.pytest_deselected(items=[item for item in items if _part(item) != part])
        items[:] = chosen
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_starts_first)


@cache
def imports_engine(path: Path) -> bool:
    """Whether a file of unit tests imports the engine, as its text tells."""
    return "unit" in path.parts and ENGINE.search(path.read_text(encoding="utf-8")) is not None


def may_have_tests(part: str, arguments: list[str]) -> bool:
    """Whether a part may have any of the tests that pytest's arguments name: all, if they name no files or folders."""
    before = ["", *arguments]  # what follows an option may be its value
    named = [Path(name.partition("::")[0]) for last, name in zip(before, arguments, strict=False) if last[:1] != "-"]
    folders = {_folder(path.absolute(), Path.cwd()) for path in named if path.exists()} or {None}
    possible = {"services": SERVICES, "engine": {"unit"}, "beside": {*FOLDERS} - SERVICES, "alone": {*FOLDERS}}
    return None in folders or not folders.isdisjoint(possible[part])


def _folder(path: Path, root: Path) -> str | None:
    """Return which folder of tests a path lies in; nothing for one that lies in none of them."""
    inside = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return next((name for name in inside if name in FOLDERS), None)


def _is_elsewhere(part: str | None, path: Path, root: Path) -> bool:
    if part == "alone":
        return "mark.alone" not in path.read_text(encoding="utf-8")
    return part is not None and part != _part_of_file(path, root)


def _part_of_file(path: Path, root: Path) -> str:
    """Return the part of a file's tests that need not run alone."""
    if _folder(path, root) in SERVICES:
        return "services"
    return "engine" if imports_engine(path) else "beside"


def _part(item: pytest.Item) -> str:
    """Return the part of a test."""
    is_alone = item.get_closest_marker("alone") is not None
    return "alone" if is_alone else _part_of_file(item.path, item.config.rootpath)


def _starts_first(item: pytest.Item) -> tuple[int, bool]:
    """Order by folder; unit tests of no folder, which are of whole programs, take longer than the others."""
    _, folder, *inside = item.path.relative_to(item.config.rootpath).parts
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS), len(inside) > 1
