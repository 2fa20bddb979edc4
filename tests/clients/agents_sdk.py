"""The Agents SDK's quickstart, a stream, a tool loop and a second turn; prints what came of each as JSON.

It runs in the clients' own environment, against OPENAI_BASE_URL.
"""

import asyncio
import json
import sys

from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled
from openai.types.shared import Reasoning


@function_tool
def weather(city: str) -> str:
    """Get the weather in a city."""
    return f"Sunny in {city}"


async def main() -> None:
    """Run each, one after the other."""
    set_tracing_disabled(True)
    settings = ModelSettings(verbosity="low", reasoning=Reasoning(summary="detailed"), truncation="auto")
    agent = Agent(name="Assistant", instructions="Be brief.", model="quick", tools=[weather], model_settings=settings)
    first = await Runner.run(agent, "hello there")
    streamed = Runner.run_streamed(agent, "hello stream")
    events = [event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"]
    looped = await Runner.run(agent, "What is the weather in 'Bonn'?")
    second = await Runner.run(agent, "and again", previous_response_id=first.last_response_id)
    json.dump(
        {
            "first": first.final_output,
            "streamed": streamed.final_output,
            "deltas": events.count("response.output_text.delta"),
            "looped": looped.final_output,
            "second": second.final_output,
            "read": second.raw_responses[0].usage.input_tokens,
        },
        sys.stdout,
    )


asyncio.run(main())
