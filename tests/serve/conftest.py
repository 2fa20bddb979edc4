"""Real Ray Serve with scripted models, started for each module of tests."""

from collections.abc import Generator

import pytest

from tests.launched import Launched, launched, service_file

MODELS = [
    {"id": "quick", "kind": "scripted", "tokens": 16, "context_tokens": 500, "input_modalities": ["text", "image"]},
    {"id": "slow", "kind": "scripted", "tokens": 2000, "token_ms": 20},
    {"id": "broken", "kind": "scripted", "fails_to_load": True},
    {"id": "loading", "kind": "scripted", "load_s": 3600},
]


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Generator[Launched]:
    """The service of the module's `SERVICE_FILE`; by default one with two ingress and two model replicas.

    Its models: `quick` (the default), `slow` (20 ms a token), `loading` (for an hour), `broken`.
    """
    settings = {
        "responses": {"stale_after_s": 3},
        # On a busy machine 50 ms pass while nothing is wrong, and the limits would hold per replica.
        "key_limits": {"timeout_s": 2},
    }
    default = service_file(MODELS, {"Ingress": 2, "model-quick": 2}, **settings)
    with launched(getattr(request.module, "SERVICE_FILE", default)) as running:
        yield running
