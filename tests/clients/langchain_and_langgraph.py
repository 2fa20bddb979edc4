"""LangChain's ChatOpenAI and LangGraph's agent with a memory."""

import os

from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"Sunny in {city}"


for model in (ChatOpenAI(model=os.environ["MODEL"]), ChatOpenAI(model=os.environ["MODEL"], use_responses_api=True)):
    assert "one two" in model.invoke("one two").text
    chunks = list(model.stream("five six"))
    assert len(chunks) > 2 and "five six" in "".join(chunk.text for chunk in chunks)
    agent = create_react_agent(model, [get_weather], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    told = agent.invoke({"messages": [HumanMessage("What is the weather in 'Paris'?")]}, thread)["messages"]
    assert "Sunny in Paris" in told[-1].text, told
    told = agent.invoke({"messages": [HumanMessage("three four")]}, thread)["messages"]
    assert "three four" in told[-1].text and len(told) == 6, told
    pieces = agent.stream({"messages": [HumanMessage("seven eight")]}, thread, stream_mode="messages")
    assert "seven eight" in "".join(piece.text for piece, _ in pieces if isinstance(piece, AIMessageChunk))
