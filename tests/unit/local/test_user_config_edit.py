"""A setting is put into the service file and taken out of it; every other line stays as it was."""

import pytest
import yaml

from deployments.local.service_document import ingress_user_config
from deployments.local.state import LauncherError
from deployments.local.user_config_edit import with_setting, without_setting
from tests.unit.local.test_service_edit import FILES, added_and_removed

HEAD = """\
# The service.
applications:
- name: chatllm   # of this machine
  import_path: deployments.app:build_app
  deployments:
    - name: CacheLookup
"""
BLOCK = f"""{HEAD}\
    # what users notice
    - name: Ingress
      user_config:   # changes in place
        # waiting
        timeouts:
          idle_s: 20   # between two tokens
        log_level: INFO

      num_replicas: 2
    # the end
"""
BRACES = f"""{HEAD}\
    - name: Ingress
      user_config: {{timeouts: {{idle_s: 20}}, log_level: INFO}}  # short
      num_replicas: 2
"""
EMPTY = f"{HEAD}    - name: Ingress\n      user_config:\n      num_replicas: 2\n"
DASH = f"{HEAD}    - user_config: {{log_level: INFO}}\n      name: Ingress\n"
ANY = [*(file.read_text() for file in FILES), BLOCK, BRACES, EMPTY, DASH, f"{HEAD}    - name: Ingress"]


@pytest.mark.parametrize("text", ANY)
@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("timeouts", "idle_s"), 30),
        (("timeouts", "total_s"), 500.5),
        (("aliases", "gpt-4: 1 #"), "größer"),
        (("log_level",), "DEBUG"),
        (("cors", "allow_origins"), ["https://a.example", "*"]),
        (("timeouts",), {"idle_s": 1}),
    ],
)
def test_a_setting_is_set_and_nothing_else_changes(text: str, names: tuple[str, ...], value: object) -> None:
    new = with_setting(text, names, value)
    found: object = ingress_user_config(yaml.safe_load(new))
    for name in names:
        assert isinstance(found, dict)
        found = found[name]
    assert found == value
    added, removed = added_and_removed(text if text.endswith("\n") else f"{text}\n", new)
    assert len(added) == 1 and len(removed) <= 2
    assert {part for line in removed if "#" in line for part in line.split("#")[1:]} <= set(added[0].split("#")) | {
        " between two tokens\n"
    }


@pytest.mark.parametrize("text", [*(file.read_text() for file in FILES), f"{HEAD}    - name: Ingress\n"])
def test_what_was_set_is_taken_out_again_with_all_that_it_needed(text: str) -> None:
    once = with_setting(text, ("timeouts", "idle_s"), 30)
    twice = with_setting(once, ("aliases", "one"), "two")
    assert without_setting(without_setting(twice, ("aliases",)), ("timeouts", "idle_s")) == text


def test_a_setting_of_several_lines_is_cut_with_its_comments_left() -> None:
    new = without_setting(BLOCK, ("timeouts", "idle_s"))
    assert added_and_removed(BLOCK, new) == (
        [],
        ["        timeouts:\n", "          idle_s: 20   # between two tokens\n"],
    )


@pytest.mark.parametrize("text", [BLOCK, BRACES, EMPTY, HEAD])
@pytest.mark.parametrize("names", [("timeouts", "total_s"), ("aliases", "one"), ("log_level", "x")])
def test_what_is_not_set_cannot_be_unset(text: str, names: tuple[str, ...]) -> None:
    with pytest.raises(LauncherError, match=r"does not set|says nothing of `Ingress`"):
        without_setting(text, names)


def test_a_file_that_does_not_name_the_ingress_says_what_to_add() -> None:
    with pytest.raises(LauncherError, match=r"add `- name: Ingress`"):
        with_setting(HEAD, ("log_level",), "DEBUG")
