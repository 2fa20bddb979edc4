"""The plan: what Serve does in place, what it restarts, and what it leaves alone."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deployments.local.apply.plan import Change, lines, plan

Document = dict[str, Any]
Edit = Callable[[dict[str, Document], list[Document]], object]


def model(identifier: str, kind: str = "scripted", **more: Any) -> Document:
    arguments = {"id": identifier, "kind": kind, **more}
    deployment = {"name": f"model-{identifier}", "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}
    return {
        "name": f"model-{identifier}",
        "import_path": "deployments.app:build_model",
        "route_prefix": None,
        "args": arguments,
        "deployments": [deployment],
    }


def document() -> Document:
    main = {
        "name": "chatllm",
        "import_path": "deployments.app:build_app",
        "route_prefix": "/",
        "deployments": [{"name": "Ingress", "num_replicas": 1}, {"name": "CacheLookup"}],
    }
    return {"applications": [main, model("one"), model("two", "vllm", engine={"model": "/m"})]}


def planned(change: Edit) -> list[Change]:
    wanted = copy.deepcopy(document())
    change({one["name"]: one for one in wanted["applications"]}, wanted["applications"])
    return plan(document(), wanted)


def test_the_same_file_changes_nothing() -> None:
    assert plan(document(), document()) == []


def test_what_is_left_out_is_the_same_as_what_is_empty() -> None:
    def change(named: Document, _: list[Document]) -> None:
        named["chatllm"] |= {"args": {}, "runtime_env": {}}
        named["chatllm"]["deployments"][1] |= {"ray_actor_options": {}}

    assert planned(change) == []


def test_applications_come_and_go() -> None:
    def change(named: Document, applications: list[Document]) -> None:
        applications.remove(named["model-one"])
        applications.append(model("three"))

    assert planned(change) == [Change("model-three", "add"), Change("model-one", "remove")]


@pytest.mark.parametrize(
    "fields",
    [
        {"user_config": {"aliases": {"x": "one"}}},
        {"num_replicas": 3},
        {"max_ongoing_requests": 7},
        {"health_check_period_s": 3},
    ],
)
def test_these_fields_of_a_deployment_change_in_place(fields: Document) -> None:
    (found,) = planned(lambda named, _: named["chatllm"]["deployments"][0].update(fields))
    assert (found.kind, found.replaced) == ("in place", ())
    assert all(field.startswith("deployments.Ingress.") for field in found.fields)


def test_bounds_of_autoscaling_change_in_place_and_its_introduction_restarts() -> None:
    before, wanted, again = document(), document(), document()
    wanted["applications"][1]["deployments"][0] |= {"autoscaling_config": {"min_replicas": 1, "max_replicas": 4}}
    again["applications"][1]["deployments"][0] |= {"autoscaling_config": {"min_replicas": 2, "max_replicas": 4}}
    assert [change.kind for change in (*plan(before, wanted), *plan(wanted, again))] == ["restart", "in place"]


@pytest.mark.parametrize("at", range(4))
def test_the_plan_says_restart_where_the_hash_of_serve_is_another(at: int) -> None:
    from ray.serve._private.deploy_utils import get_app_code_version
    from ray.serve.schema import ServeApplicationSchema

    changes: list[Document] = [
        {"num_replicas": 2, "user_config": {"a": 1}, "max_ongoing_requests": 3},
        {"num_replicas": "auto", "autoscaling_config": {"min_replicas": 1}},
        {"request_router_config": {"request_routing_stats_period_s": 1}},
        {"graceful_shutdown_timeout_s": 1, "logging_config": {"log_level": "DEBUG"}},
    ]
    before, wanted = document(), document()
    wanted["applications"][1]["deployments"][0] |= changes[at]
    versions = [
        get_app_code_version(ServeApplicationSchema.model_validate(one["applications"][1])) for one in (before, wanted)
    ]
    (found,) = plan(before, wanted)
    assert (found.kind == "restart") == (versions[0] != versions[1])


def test_other_arguments_restart_a_model_whose_old_replicas_answer_meanwhile() -> None:
    (found,) = planned(lambda named, _: named["model-one"]["args"].update(tokens=5))
    assert found == Change("model-one", "restart", ("args.tokens",), ("model-one",))


def test_a_vllm_model_holds_its_requests_unless_the_file_lets_it_surge() -> None:
    def change(named: Document, _: list[Document]) -> None:
        named["model-two"]["args"]["engine"]["max_model_len"] = 100

    def surging(named: Document, applications: list[Document]) -> None:
        change(named, applications)
        named["model-two"]["deployments"][0]["max_surge_percent"] = 100

    assert planned(change)[0].held == ("model-two",)
    assert planned(surging)[0].held == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"ray_actor_options": {"num_cpus": 2}},
        {"max_replicas_per_node": 1},
        {"placement_group_bundles": [{"CPU": 1}]},
    ],
)
def test_what_a_process_is_started_with_restarts_that_deployment_alone(fields: Document) -> None:
    (found,) = planned(lambda named, _: named["chatllm"]["deployments"][1].update(fields))
    assert (found.kind, found.replaced) == ("restart", ("CacheLookup",))


def test_what_an_application_is_built_from_restarts_all_of_it() -> None:
    def policy(named: Document, _: list[Document]) -> None:
        named["chatllm"]["deployments"][0]["autoscaling_config"] = {"policy": {"policy_function": "a.b"}}

    changes: list[Edit] = [
        lambda named, _: named["chatllm"].update(args={"usage": {"flush_s": 1}}),
        lambda named, _: named["chatllm"].update(runtime_env={"env_vars": {"A": "1"}}),
        lambda named, _: named["chatllm"]["deployments"][0].update(request_router_config={"x": 1}),
        policy,
    ]
    for change in changes:
        (found,) = planned(change)
        assert (found.kind, found.replaced) == ("restart", ("Ingress", "CacheLookup"))


def test_the_plan_is_told_with_places_and_without_values() -> None:
    changes = [
        Change("model-two", "restart", ("args.environment.SECRET",), ("model-two",), ("model-two",)),
        Change("model-one", "restart", ("args.tokens",), ("model-one",)),
        Change("chatllm", "in place", tuple(f"deployments.Ingress.{at}" for at in range(8))),
        Change("model-three", "add"),
        Change("model-four", "remove"),
    ]
    assert lines(changes, 1, {"model-two": 42.3, "model-three": 7}) == [
        "  restart   model-two: args.environment.SECRET; requests to model-two are held until the new replicas are "
        "ready; loading took 42 s before",
        "  restart   model-one: args.tokens; the old replicas answer until the new ones are ready, "
        "and finish their answers in the background",
        "  in place  chatllm: Ingress.0, Ingress.1, Ingress.2, Ingress.3, Ingress.4, Ingress.5 and 2 more",
        "  add       model-three: loading took 7 s before",
        "  remove    model-four",
        "1 application unchanged.",
    ]
