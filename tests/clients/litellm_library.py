"""LiteLLM as a library: chat, stream, tools, responses, and Anthropic's messages in front of it."""

import asyncio
import json
import os

import litellm

MODEL = f"openai/{os.environ['MODEL']}"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

said = [{"role": "user", "content": "one two"}]
first = litellm.completion(model=MODEL, messages=said)
assert "one two" in first.choices[0].message.content
said += [first.choices[0].message, {"role": "user", "content": "three four"}]
assert "three four" in litellm.completion(model=MODEL, messages=said).choices[0].message.content

stream = litellm.completion(model=MODEL, messages=[{"role": "user", "content": "five six"}], stream=True)
pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
assert len(pieces) > 2 and "five six" in "".join(pieces)

tools = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
said = [{"role": "user", "content": "What is the weather in 'Paris'?"}]
called = litellm.completion(model=MODEL, messages=said, tools=tools).choices[0].message
(call,) = called.tool_calls
assert json.loads(call.function.arguments) == {"city": "Paris"}
said += [called, {"role": "tool", "tool_call_id": call.id, "content": "Sunny in Paris"}]
assert "Sunny in Paris" in litellm.completion(model=MODEL, messages=said, tools=tools).choices[0].message.content

response = litellm.responses(model=MODEL, input="one two")
assert "one two" in response.output[-1].content[0].text


async def anthropic() -> None:
    messages = [{"role": "user", "content": "one two"}]
    answer = await litellm.anthropic.messages.acreate(model=MODEL, messages=messages, max_tokens=20)
    assert "one two" in answer["content"][0]["text"]


asyncio.run(anthropic())
