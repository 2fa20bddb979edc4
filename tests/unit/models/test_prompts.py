"""Of a text that is to be truncated only what can be read is tokenized."""

import asyncio
import time
from typing import Any

import pytest

from deployments.models.prompts import cut_texts, validated
from deployments.models.vllm.long_texts import LongTexts
from tests.vllm_reader import ChatCompletionRequest


@pytest.mark.parametrize(
    ("request_", "cut"),
    [
        ({"prompt": "abcdef", "truncate_prompt_tokens": 2}, "def"),
        ({"prompt": "abcdef", "truncate_prompt_tokens": 2, "truncation_side": "right"}, "abc"),
        ({"prompt": ["abcdef", "ab"], "truncate_prompt_tokens": 2}, ["def", "ab"]),
        ({"prompt": [1, 2, 3, 4, 5], "truncate_prompt_tokens": 2}, [1, 2, 3, 4, 5]),
        ({"prompt": "abcdef"}, "abcdef"),
    ],
)
def test_a_text_is_cut_where_its_tokens_would_be(request_: dict[str, Any], cut: Any) -> None:
    cut_texts(request_, 3, "left")
    assert request_["prompt"] == cut


def test_a_chat_is_cut_by_the_engine_once_its_template_has_written_it() -> None:
    request: dict[str, Any] = {"messages": [{"role": "user", "content": "abcdef"}], "truncate_prompt_tokens": 2}
    cut_texts(request, 3, "left")
    assert request == {**request, "truncation_side": "left"} and request["messages"][0]["content"] == "abcdef"


class Slow:
    """A tokenizer of characters that takes its time, without keeping others from running."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        time.sleep(0.5)
        return list(text.encode())

    def convert_ids_to_tokens(self, tokens: list[int]) -> list[str]:
        return list(map(chr, tokens))


@pytest.mark.alone
async def test_a_long_text_does_not_stop_the_loop() -> None:
    texts, longest = LongTexts(Slow(), 64), 0.0
    answer = asyncio.create_task(texts.tokenized({"prompt": "hi", "return_token_strs": True}))
    while not answer.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - began)
    assert await answer == b'{"count":2,"max_model_len":64,"tokens":[104,105],"token_strs":["h","i"]}'
    assert longest < 0.3


MANY = [{"type": "text", "text": str(n)} for n in range(60_000)]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}


@pytest.mark.parametrize("content", [MANY[:3], MANY[:100], [*MANY[:100], PICTURE], "text"])
def test_messages_of_many_parts_are_read_as_vllm_reads_them(content: Any) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": content}, {"role": "user", "content": "hi"}]}
    ours: Any = validated(ChatCompletionRequest, request)
    theirs: Any = ChatCompletionRequest.model_validate(request)
    assert [list(said["content"]) for said in ours.messages] == [list(said["content"]) for said in theirs.messages]
    assert [said["role"] for said in ours.messages] == ["user", "user"]


def test_many_parts_are_read_at_once() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": MANY}]}
    began = time.thread_time()
    read: Any = validated(ChatCompletionRequest, request)
    assert time.thread_time() - began < 0.15
    assert read.messages[0]["content"] == MANY
