"""openai-python: chat completions and responses."""

import json
import os

from openai import OpenAI

client = OpenAI()
MODEL = os.environ["MODEL"]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

# Quickstart and second turn
said = [{"role": "user", "content": "one two"}]
first = client.chat.completions.create(model=MODEL, messages=said)
assert "one two" in first.choices[0].message.content
said += [first.choices[0].message, {"role": "user", "content": "three four"}]
second = client.chat.completions.create(model=MODEL, messages=said)
assert "three four" in second.choices[0].message.content
assert second.usage.prompt_tokens > first.usage.prompt_tokens

# Stream
with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": "five six"}]) as stream:
    deltas = [event.delta for event in stream if event.type == "content.delta"]
    assert len(deltas) > 2 and "five six" in "".join(deltas) == stream.get_final_completion().choices[0].message.content

# Tool loop
said = [{"role": "user", "content": "What is the weather in 'Paris'?"}]
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
called = client.chat.completions.create(model=MODEL, messages=said, tools=tools).choices[0].message
(call,) = called.tool_calls
assert json.loads(call.function.arguments) == {"city": "Paris"}
said += [called, {"role": "tool", "tool_call_id": call.id, "content": "Sunny in Paris"}]
assert (
    "Sunny in Paris"
    in client.chat.completions.create(model=MODEL, messages=said, tools=tools).choices[0].message.content
)

# The same with responses
response = client.responses.create(model=MODEL, input="one two")
assert "one two" in response.output_text
response = client.responses.create(model=MODEL, input="three four", previous_response_id=response.id)
assert "three four" in response.output_text
with client.responses.stream(model=MODEL, input="five six") as stream:
    text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
assert "five six" in text
tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}]
response = client.responses.create(model=MODEL, input="What is the weather in 'Paris'?", tools=tools)
(call,) = (item for item in response.output if item.type == "function_call")
result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny in Paris"}
response = client.responses.create(model=MODEL, input=[result], previous_response_id=response.id, tools=tools)
assert "Sunny in Paris" in response.output_text
