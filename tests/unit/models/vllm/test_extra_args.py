"""Nobody but this service says with which tokens an answer begins."""

from typing import Any

import pytest

from deployments.models.vllm.extra_args import FIELD, RESUMED, set_resumed


@pytest.mark.parametrize(
    ("given", "tokens", "found"),
    [
        ({}, [], None),
        ({}, [1, 2], {RESUMED: [1, 2]}),
        ({FIELD: {"own": 1}}, [], {"own": 1}),
        ({FIELD: {"own": 1}}, [3], {"own": 1, RESUMED: [3]}),
        ({FIELD: {RESUMED: [9], "own": 1}}, [], {"own": 1}),
        ({FIELD: {RESUMED: [9]}}, [3], {RESUMED: [3]}),
        ({FIELD: "no object"}, [], "no object"),
    ],
)
def test_a_clients_own_tokens_are_removed(given: dict[str, Any], tokens: list[int], found: Any) -> None:
    body = dict(given)
    set_resumed(body, tokens)
    assert body.get(FIELD) == found
