"""OpenAI's Responses API upon durable conversations.

request.py      what a client asks, and the chat completion request that it comes to
events.py       from the chunks of a chat completion to the events and the output of a response
objects.py      the response as a client sees it
turn.py         what the model reads, and what is kept: before, while and after it answers
service.py      a response that its client waits for
background.py   responses that run without one; following.py shows their events to whoever asks
store.py        the interface; postgres.py and memory.py implement it
"""
