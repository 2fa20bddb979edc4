"""What the scripted model says: every part is a pure function of the request.

prompt.py       what the prompt offers: its words, numbers and phrases
schema.py       a value that fits a JSON schema, made of what the prompt offers
tools.py        which tools are called, and with what
chat.py         the choices of a chat completion, token by token
completion.py   the choices of a text completion, token by token
speaking.py     the events of an answer, the ids of its tokens, and when each is due
tokens.py       its tokenizer
embedding.py    its embeddings
"""
