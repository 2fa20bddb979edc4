"""OpenAI's Responses API upon durable conversations.

request.py      what a client asks, and the chat completion request that it comes to
events.py       from the chunks of a chat completion to the events and the output of a response
objects.py      the response as a client sees it
turn.py         what the model reads, and what is kept: before, while and after it answers
service.py      a response that its client waits for
background.py   responses that run without one, each a Run (run.py) with its newest events (live.py)
following.py    shows the events of a background response to whoever asks, on any replica
store.py        the interface; postgres.py and memory.py implement it
"""
