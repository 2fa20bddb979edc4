"""The tools of a response as functions, and back."""

from typing import Any, get_args, get_type_hints

import pytest
from openai.types.responses import response_create_params, response_input_item_param, tool_param

from deployments.errors import BadRequest
from deployments.history.tool_items import CALL_FIELDS, NOT_READ, OUTPUTS
from deployments.responses.tools import BUILT_IN, ClientTool, Toolbox

ADD = {"type": "function", "name": "add", "description": "Add.", "parameters": {"type": "object"}, "strict": True}
PATCH = {"type": "custom", "name": "patch", "description": "Change files."}
MAIL = {"type": "namespace", "name": "mail", "description": "The post.\nMore.", "tools": [ADD, PATCH]}
TOOLS = [ADD, PATCH, MAIL, {"type": "web_search"}]


def types_in(union: Any) -> set[str]:
    """The values of `type` that the members of a union of the SDK's have."""
    hints = [get_type_hints(member).get("type") for member in get_args(union) if hasattr(member, "__annotations__")]
    return {tag for hint in hints for one in (hint, *get_args(hint)) for tag in get_args(one) if isinstance(tag, str)}


def chat(**request: Any) -> dict[str, Any]:
    return Toolbox.of({"tools": TOOLS, **request}).chat_fields({"tools": TOOLS, **request})


def names(fields: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in fields["tools"]]


def test_every_tool_of_the_sdk_is_decided_on() -> None:
    assert types_in(tool_param.ToolParam) - BUILT_IN == {"function", "custom", "namespace"}
    assert types_in(response_create_params.ToolChoice) - BUILT_IN == {"function", "custom", "allowed_tools"}


def test_every_item_of_the_sdk_is_decided_on() -> None:
    read = {"message", "reasoning", "item_reference", "function_call", "custom_tool_call", *CALL_FIELDS, *OUTPUTS}
    refused = {"compaction", "compaction_trigger", "additional_tools", "configuration_update"}
    assert types_in(response_input_item_param.ResponseInputItemParam) == read | NOT_READ | refused


def test_namespaces_are_flattened_and_custom_tools_have_one_string() -> None:
    fields = chat()
    assert names(fields) == ["add", "patch", "mail__add", "mail__patch"]
    assert fields["tools"][0]["function"] == {k: v for k, v in ADD.items() if k != "type"}
    assert fields["tools"][1]["function"]["parameters"]["required"] == ["input"]
    assert fields["tools"][2]["function"]["description"] == "The post.\nAdd."
    toolbox = Toolbox.of({"tools": TOOLS})
    assert toolbox.ignored == ("web_search",)
    assert toolbox.by_name()["mail__patch"] == ClientTool("patch", "mail", True)


def test_a_grammar_is_told_in_words() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    (tool,) = Toolbox.of({"tools": [{**PATCH, "format": form}]}).functions
    assert tool["function"]["description"].endswith("(lark):\nstart: WORD")


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "function", "name": "add"}, "add"),
        ({"type": "custom", "name": "patch"}, "patch"),
        ({"type": "function", "name": "add", "namespace": "mail"}, "mail__add"),
        ({"type": "function", "name": "mail__add"}, "mail__add"),
    ],
)
def test_a_tool_is_chosen_by_its_own_name(choice: dict[str, Any], called: str) -> None:
    assert chat(tool_choice=choice)["tool_choice"] == {"type": "function", "function": {"name": called}}


def test_some_tools_are_allowed() -> None:
    listed = [{"type": "web_search"}, {"type": "custom", "name": "patch"}]
    fields = chat(tool_choice={"type": "allowed_tools", "mode": "required", "tools": listed})
    assert (names(fields), fields["tool_choice"]) == (["patch", "mail__patch"], "required")
    mail = [{"type": "namespace", "name": "mail"}]
    assert names(chat(tool_choice={"type": "allowed_tools", "mode": "auto", "tools": mail})) == [
        "mail__add",
        "mail__patch",
    ]


@pytest.mark.parametrize(
    "request_",
    [
        {"tool_choice": {"type": "web_search_preview"}},
        {"tool_choice": {"type": "mcp", "server_label": "x"}},
        {"tool_choice": {"type": "function", "name": "subtract"}},
        {"tool_choice": {"type": "function"}},
        {"tool_choice": "required", "tools": [{"type": "web_search"}]},
        {
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
        },
    ],
)
def test_what_is_forced_and_cannot_be_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        chat(**request_)
    assert refused.value.param == "tool_choice"


def test_too_many_functions_are_refused() -> None:
    many = {"type": "namespace", "name": "n", "tools": [{**ADD, "name": f"f{n}"} for n in range(1025)]}
    with pytest.raises(BadRequest, match="1024"):
        chat(tools=[many])
