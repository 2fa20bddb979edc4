"""The whole service as a user gets it: serve_config.yaml with vLLM, the demo model and the chat page."""

from collections.abc import Generator

import pytest

from tests.launched import Launched, launched


@pytest.fixture(scope="module")
def product() -> Generator[Launched]:
    """A running product; loading the model takes a minute or two."""
    with launched(None, page=True) as running:
        yield running
