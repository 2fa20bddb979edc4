"""A streamed chat completion that survives lost connections, with OpenAI's SDK.

CHATLLM_API_KEY=… python examples/resumable_chat.py "Tell me a long story."
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx  # what the SDK connects with; `httpx` in its versions before 3
from openai import APIConnectionError, APIError, InternalServerError, OpenAI, Stream
from openai.types.chat import ChatCompletionChunk


def chunks(client: OpenAI, patience_s: float = 30.0, **request: Any) -> Iterator[ChatCompletionChunk]:
    """Yield the chunks of a chat completion, each once; a lost connection is made again for `patience_s`."""
    headers = {"x-chatllm-resumable": "1"}
    stream: Any
    stream = client.chat.completions.create(stream=True, extra_headers=headers, **request)
    path, seen, heard_at = f"/streams/{stream.response.headers.get('x-chatllm-stream-id')}", "", time.monotonic()
    while True:
        try:
            after: Any = {"headers": {"Last-Event-ID": seen}} if seen else {}
            kinds: Any = {"cast_to": ChatCompletionChunk, "stream_cls": Stream[ChatCompletionChunk]}
            stream = stream or client.get(path, options=after, stream=True, **kinds)
            with stream:
                for event_id, data in events(stream.response.iter_lines()):
                    if data == "[DONE]":
                        return
                    event = json.loads(data)
                    if error := event.get("error"):
                        raise APIError(error["message"], stream.response.request, body=error)
                    seen, heard_at = event_id, time.monotonic()
                    yield ChatCompletionChunk.model_validate(event)
        except (httpx.TransportError, APIConnectionError, InternalServerError):
            if time.monotonic() - heard_at > patience_s:
                raise
            time.sleep(0.3)
        stream = None


def events(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the id and the data of each event, and nothing of one that is cut off."""
    event_id = data = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            data = value
        elif not line and data:
            yield event_id, data
            data = ""


if __name__ == "__main__":
    service = OpenAI(
        base_url=os.environ.get("CHATLLM_URL", "http://127.0.0.1:8000/v1"), api_key=os.environ["CHATLLM_API_KEY"]
    )
    question = {"role": "user", "content": " ".join(sys.argv[1:]) or "Tell me a long story."}
    for chunk in chunks(service, model="default", messages=[question]):
        sys.stdout.write(chunk.choices[0].delta.content or "" if chunk.choices else "")
        sys.stdout.flush()
