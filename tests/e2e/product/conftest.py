"""The product as a user gets it, started once for all tests of this folder."""

from collections.abc import Generator

import pytest

from tests.launched import GUIDE, Launched, launched


@pytest.fixture(scope="package")
def product() -> Generator[Launched]:
    """A running product: vLLM with the demo model; loading it takes a minute or two."""
    with launched(GUIDE, page=True) as running:
        yield running
