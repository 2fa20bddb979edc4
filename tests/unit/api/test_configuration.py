"""What an ingress replica goes by follows from its arguments, its `user_config` and the models that are deployed."""

import pytest

from deployments.api import configuration
from deployments.api.configuration import IngressConfiguration
from deployments.config import BrokenModel, ScriptedModel, Settings
from deployments.models.directory import DeployedModel
from deployments.models.names import ModelNames

ONE = ScriptedModel(id="one", kind="scripted", adapters=("a",))
TWO = ScriptedModel(id="two", kind="scripted", writes_titles=False)
FOUND = [
    DeployedModel("model-one", ONE, {"one": "1", "one:a": "1a"}),
    DeployedModel("model-two", TWO, {"two": "2"}),
]


@pytest.fixture(autouse=True)
def handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "handle_to", lambda application, deployment: None)  # pyright: ignore[reportUnknownLambdaType]


def made(**arguments: object) -> IngressConfiguration:
    return IngressConfiguration(Settings.model_validate(arguments), {}, {})


def test_models_that_are_found_are_served_with_their_adapters() -> None:
    made_of = made()
    assert (made_of.served, made_of.problems) == ({}, [])
    made_of.find(FOUND)
    assert {name: (one.identity, one.application) for name, one in made_of.served.items()} == {
        "one": ("1", "model-one"),
        "one:a": ("1a", "model-one"),
        "two": ("2", "model-two"),
    }
    made_of.find(FOUND[1:])
    assert [*made_of.served] == ["two"]
    assert ModelNames.of(made_of.settings).resolve(None) == "two"


def test_what_user_config_sets_counts_and_all_else_is_as_in_the_arguments() -> None:
    made_of = made(timeouts={"idle_s": 5}, cache={"namespace": "n"}, aliases={"old": "one"})
    made_of.find(FOUND)
    changes = {
        "timeouts": {"total_s": 7},
        "cache": {"ttl_s": 9},
        "aliases": {"new": "two"},
        "models": {"two": {"fallback": ["one"]}},
    }
    assert made_of.change(changes)
    settings = made_of.settings
    assert (settings.timeouts.idle_s, settings.timeouts.total_s) == (5, 7)
    assert (settings.cache.namespace, settings.cache.ttl_s) == ("n", 9)
    assert settings.aliases == {"new": "two"}
    assert (made_of.served["two"].settings.fallback, made_of.served["two"].settings.writes_titles) == (("one",), False)
    assert made_of.change(None)
    assert (made_of.settings.timeouts.total_s, made_of.settings.aliases) == (900, {"old": "one"})


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"limits": {"max_messages": 0}}, "limits.max_messages"),
        ({"history": {"pool_size": 3}}, "history"),
        ({"cache": {"namespace": "other"}}, "cache.namespace"),
        ({"models": {"one": {"id": "x"}}}, "models.one.id"),
        ("text", ""),
        ([1], ""),
    ],
)
def test_a_wrong_user_config_changes_nothing_and_is_told(wrong: object, place: str) -> None:
    made_of = made()
    made_of.find(FOUND)
    made_of.change({"aliases": {"new": "two"}})
    before = made_of.settings
    assert not made_of.change(wrong)
    assert made_of.settings == before
    assert place in made_of.problems[0]
    assert made_of.change({"aliases": {"new": "two"}})
    assert made_of.problems == []


def test_names_for_models_that_are_not_there_are_problems_until_they_are() -> None:
    made_of = made()
    made_of.change({"aliases": {"new": "two"}, "default_model": "two"})
    made_of.find(FOUND[:1])
    assert len(made_of.problems) == 2
    made_of.find(FOUND)
    assert made_of.problems == []


def test_of_two_applications_with_one_model_the_first_counts() -> None:
    made_of = made()
    made_of.find([*FOUND, DeployedModel("again", ONE, {"one": "other"})])
    assert made_of.served["one"].identity == "1"
    assert "'model-one' and 'again'" in made_of.problems[0]


def test_a_model_that_cannot_be_served_is_shown_and_lowers_no_limit() -> None:
    made_of = made()
    made_of.find([*FOUND, DeployedModel("x", BrokenModel(id="broken"), problem="args.tokens: wrong")])
    broken = made_of.served["broken"]
    assert (broken.problem, broken.handle, broken.identity) == ("args.tokens: wrong", None, "")
    assert made_of.settings.default_concurrent_requests == 128
