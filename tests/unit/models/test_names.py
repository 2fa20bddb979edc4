from typing import Any

import pytest
from pydantic import ValidationError

from deployments.config import ScriptedModel, Settings
from deployments.errors import ModelNotFound
from deployments.models.names import ModelNames

MODELS = ScriptedModel(id="guide", kind="scripted"), ScriptedModel(id="other", kind="scripted")


def names(**more: Any) -> ModelNames:
    return ModelNames.of(Settings(models=MODELS, **more))


def test_names_ids_and_aliases_lead_to_models() -> None:
    known = names(aliases={"gpt-4o": "other"}, default_model="other")
    found = [known.resolve(name) for name in ("guide", "other", "gpt-4o", None, "")]
    assert found == ["guide", "other", "other", "other", "other"]
    with pytest.raises(ModelNotFound, match="gpt-4o"):
        known.resolve("gpt-9")


def test_an_alias_can_stand_for_all_names_that_begin_so() -> None:
    known = names(aliases={"claude-*": "guide", "claude-opus-*": "other", "claude-opus-4": "guide", "guid*": "other"})
    found = [known.resolve(name) for name in ("claude-haiku-4-5", "claude-", "claude-opus-5", "claude-opus-4", "guide")]
    assert found == ["guide", "guide", "other", "guide", "guide"]
    assert dict(known.single_aliases) == {"claude-opus-4": "guide"}
    with pytest.raises(ModelNotFound):
        known.resolve("claude")


def test_unknown_names_get_the_default_only_where_that_is_said() -> None:
    assert names(unknown_models_get_default=True).resolve("gpt-9") == "guide"
    assert not names(unknown_models_get_default=True).is_known("gpt-9")


@pytest.mark.parametrize("aliases", [{"guide": "other"}, {"gpt-4o": "gpt-4"}, {"": "guide"}, {"a*b": "guide"}])
def test_an_alias_is_a_new_name_for_a_model(aliases: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="alias"):
        names(aliases=aliases)
