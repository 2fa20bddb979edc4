"""Which tests share a worker: those of one file, and those of all files that use one expensive service."""

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARED = {
    "tests/e2e/test_api.py": "product",
    "tests/e2e/test_product_page.py": "product",
}
"""Files whose tests use one service of the session."""


class ByService(LoadScopeScheduling):
    """Sends the tests of a file, and of those that share its service, to one worker, which sets fixtures up once.

    The files that are named first start first.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return SHARED.get(file, file)


FOLDERS = ["e2e", "serve", "integration", "ui", "unit"]
"""What takes longest comes first, and the small files of the unit tests fill the workers' last minutes."""


def starts_first(item: pytest.Item) -> int:
    """Return the place of a test in the order in which tests start; equal ones stay as they are."""
    folder = item.path.relative_to(item.config.rootpath).parts[1]
    return FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
