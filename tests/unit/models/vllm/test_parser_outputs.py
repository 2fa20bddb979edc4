"""A tool call in each family's own format is parsed by the parsers of the catalogue, plain and streamed.

Through vLLM's own classes, as its chat handler uses them.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.models.catalogue import Catalogue, Family

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # vLLM's own imports

DEMO_MODEL = Path(__file__).parents[4] / "demo_model" / "weights"
RECORDED: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "parser_outputs.yaml").read_text(encoding="utf-8")
)
CASES = [pytest.param(family, one, id=family) for one in RECORDED for family in one["families"]]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]


def family_named(name: str) -> Family:
    found = Catalogue.load().family(name)
    assert found is not None
    return found


class Vocabulary:
    """The demo model's tokenizer with the tokens that a family's parser looks for; gpt-oss has one of its own."""

    def __init__(self, tokens: list[str], plain_tokens: list[str], *, is_harmony: bool) -> None:
        from openai_harmony import HarmonyEncodingName, load_harmony_encoding
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(DEMO_MODEL)
        self.tokenizer.add_special_tokens({"additional_special_tokens": tokens})
        self.tokenizer.add_tokens(plain_tokens)
        self._harmony = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS) if is_harmony else None

    def encode(self, output: str) -> list[int]:
        """Return the ids of what a model has said."""
        if self._harmony:
            return self._harmony.encode(output, allowed_special="all")
        return self.tokenizer.encode(output, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids; what is no whole character yet ends in a replacement character."""
        if self._harmony:
            return self._harmony.decode(ids)
        return self.tokenizer.decode(ids, skip_special_tokens=False)


class Parsed:
    """One parser with a tokenizer and a request, as vLLM's chat handler makes them for one answer."""

    def __init__(self, family: Family, vocabulary: Vocabulary) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.parser.parser_manager import ParserManager

        self.vocabulary = vocabulary
        kind = ParserManager.get_parser(
            family.tool_parser,
            family.reasoning_parser or "",
            enable_auto_tools=True,
            is_harmony=family.name == "gpt-oss",
        )
        assert kind is not None
        request = {"model": "m", "messages": [{"role": "user", "content": "?"}], "tools": TOOLS, "tool_choice": "auto"}
        self.request: Any = ChatCompletionRequest.model_validate(request)
        self.parser: Any = kind(vocabulary.tokenizer, self.request.tools, chat_template_kwargs={})

    def plain(self, output: str) -> tuple[str, str, list[tuple[str, Any]]]:
        """Return reasoning, content and calls of a whole answer."""
        ids = self.vocabulary.encode(output)
        reasoning, content, calls = self.parser.parse(output, self.request, True, ids)
        found = [(call.name, json.loads(call.arguments)) for call in calls or ()]
        return (reasoning or "").strip(), (content or "").strip(), found

    def streamed(self, output: str) -> tuple[str, str, list[tuple[str, Any]]]:
        """Return the same of one that comes token by token."""
        ids = self.vocabulary.encode(output)
        reasoning, content, names, arguments, sent = "", "", dict[int, str](), dict[int, str](), ""
        for end in range(1, len(ids) + 1):
            text = self.vocabulary.decode(ids[:end])
            if text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids):
                continue  # part of a character
            delta = self.parser.parse_delta(
                text[len(sent) :], [ids[end - 1]], self.request, prompt_token_ids=[], finished=end == len(ids)
            )
            sent = text
            reasoning += (delta.reasoning or "") if delta else ""
            content += (delta.content or "") if delta else ""
            for call in (delta.tool_calls or ()) if delta else ():
                names[call.index] = names.get(call.index, "") + (call.function.name or "")
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        found = [(names[index], json.loads(arguments[index])) for index in sorted(names)]
        return reasoning.strip(), content.strip(), found


@pytest.mark.parametrize("way", ["plain", "streamed"])
@pytest.mark.parametrize(("family", "recorded"), CASES)
def test_the_familys_format_is_parsed(family: str, recorded: dict[str, Any], way: str) -> None:
    tokens, plain_tokens = recorded.get("tokens", []), recorded.get("plain_tokens", [])
    vocabulary = Vocabulary(tokens, plain_tokens, is_harmony=family == "gpt-oss")
    parsed = Parsed(family_named(family), vocabulary)
    calls = [("get_weather", {"city": "Paris"})] if recorded.get("calls", True) else []
    expected = (recorded.get("reasoning", ""), recorded.get("content", ""), calls)
    assert getattr(parsed, way)(recorded["output"]) == expected


def test_every_family_with_a_parser_is_exercised() -> None:
    with_parser = {one.name for one in Catalogue.load().families if one.tool_parser or one.reasoning_parser}
    exercised = {family for one in RECORDED for family in one["families"]}
    assert with_parser == exercised
