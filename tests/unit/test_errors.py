"""Every error survives a process border and fits OpenAI's shape."""

import pickle

import pytest

from deployments.api.http.replies import error_response
from deployments.errors import ChatLLMError, ModelFailed, ModelLoading


def tree(error: type[ChatLLMError]) -> list[type[ChatLLMError]]:
    return [error, *[below for child in error.__subclasses__() for below in tree(child)]]


@pytest.mark.parametrize("kind", tree(ChatLLMError))
def test_it_survives_pickling_and_has_a_message(kind: type[ChatLLMError]) -> None:
    assert kind.__doc__ and str(kind()) == kind.__doc__.partition("\n")[0]
    copy = pickle.loads(pickle.dumps(kind("why", "field", 2.5)))
    assert type(copy) is kind
    assert (copy.message, copy.param, copy.retry_after_s) == ("why", "field", 2.5)
    assert copy.body("r1")["error"]["code"] == kind.code
    assert 400 <= kind.status < 600


def test_the_drawing_names_every_error() -> None:
    from deployments import errors

    for kind in tree(ChatLLMError):
        assert f" {kind.__name__} " in (errors.__doc__ or "").replace("──", "── ").replace("\n", " ") + " "


@pytest.mark.parametrize("kind", tree(ChatLLMError))
def test_what_waiting_cannot_help_says_so_and_gives_no_time(kind: type[ChatLLMError]) -> None:
    headers = error_response(kind("", None, 2.0), "r1").headers
    assert headers.get("retry-after") == (None if not kind.may_succeed_later else "2")
    assert headers.get("x-should-retry") == ("false" if not kind.may_succeed_later else None)


def test_a_model_that_failed_to_load_is_not_worth_waiting_for() -> None:
    assert ModelLoading.may_succeed_later and not ModelFailed.may_succeed_later
