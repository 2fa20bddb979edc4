"""Which tests run beside others and which alone, and in which order workers take them."""

import os

import pytest

FOLDERS = ["e2e", "serve", "integration", "ui", "unit"]
"""What takes longest comes first, and the small files of the unit tests fill the workers' last minutes."""


def add_option(parser: pytest.Parser) -> None:
    """Declare the option that chooses a part of the tests."""
    parser.addoption(
        "--part", choices=("beside", "alone"), help="run the tests that others may run beside, or the other ones"
    )


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of the chosen part; in a worker, put those first that take longest."""
    part = config.getoption("part")
    if part:
        others = [item for item in items if _is_alone(item) != (part == "alone")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _is_alone(item) == (part == "alone")]
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_starts_first)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _starts_first(item: pytest.Item) -> int:
    folder = item.path.relative_to(item.config.rootpath).parts[1]
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
