"""How replicas add up: what is deployed for it, its table, and what is multiplied from it."""

import argparse

import pytest

from deployments.local.ray.serve_schema import validated
from deployments.local.service_document import settings_of
from loadtests import scaling
from loadtests.relay_report import OneToken, Width

PARTS = {"ingress": 20.0, "model": 10.0, "HAProxy": 10.0, "rest": 0.0}


def width(models: int, passed: float) -> Width:
    offered = scaling.STREAMS * models * 1000 / scaling.STEP_MS
    cores = {part: cost * offered * passed / 1e6 for part, cost in PARTS.items()}
    return Width(scaling.STREAMS * models, scaling.STEP_MS, {}, offered * passed, 1.0, 21.0, 30.0, PARTS, cores, 10.0)


def one_token() -> OneToken:
    return OneToken(2000, {}, 5.0, 9.0, 600.0, {"ingress": 1500.0, "HAProxy": 500.0}, 100.0, [100.0, 110.0])


def test_each_number_of_replicas_has_a_model_of_its_own() -> None:
    document = scaling.document(2, (1, 4))
    counts = {one["name"]: one["num_replicas"] for one in document["applications"][0]["deployments"]}
    assert (counts["Ingress"], counts["model-h100s-1"], counts["model-h100s-4"]) == (2, 1, 4)
    validated(document)
    assert {model.id for model in settings_of(document).models} == {"step-0", "h100s-1", "h100s-4"}


def test_cores_are_multiplied_from_what_has_passed_whole() -> None:
    results = scaling.Results(0.0, one_token())
    results.widths = {1: {1: width(1, 1.0), 4: width(4, 0.5)}}
    cores = results.cores_for(2)
    assert cores == pytest.approx(2 * (256_000 / 21 * 40 + 96 * 2000) / 1e6)
    rows = list(results.rows())
    assert len(rows) == 4 and "(1.00)" in rows[2] and "(0.50)" in rows[3]
    assert "0.24 of a core" in rows[2]
    results.widths = {1: {4: width(4, 0.5)}}
    assert results.cores_for(2) is None, "where nothing passes whole, nothing is known"


@pytest.mark.parametrize("wrong", ["", "0", "1,x", "1,,2", "65"])
def test_what_is_no_list_of_numbers_is_refused(wrong: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        scaling.numbers(wrong)
    assert scaling.numbers("1,2") == (1, 2)
