"""pydantic-ai with chat completions and with responses."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel


class City(BaseModel):
    name: str
    country: str


async def main() -> None:
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        agent = Agent(kind(os.environ["MODEL"]), instructions="Be concise.")

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Tell the weather in a city."""
            return f"Sunny in {city}"

        assert "one two" in (await agent.run("one two")).output
        first = await agent.run("What is the weather in 'Paris'?")
        assert "Sunny in Paris" in first.output
        second = await agent.run("three four", message_history=first.all_messages())
        assert "three four" in second.output
        async with agent.run_stream("five six", message_history=second.all_messages()) as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        assert len(pieces) > 1 and "five six" in "".join(pieces)
        structured = Agent(kind(os.environ["MODEL"]), output_type=City)
        assert (await structured.run("The city 'Paris' lies in 'France'.")).output.name


asyncio.run(main())
