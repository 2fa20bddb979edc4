"""Anthropic's Messages, answered as chat completions.

request.py   what a client asks, as a chat completion request
content.py   its messages, block by block
tools.py     its tools and their choice
events.py    from the chunks of a chat completion to the events of a message
answer.py    a whole message, and what events and message have in common
"""
