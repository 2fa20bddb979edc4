"""A model of another service, behind LangChain's `init_chat_model`; LangChain is imported when a replica starts.

replica.py        the model's replica: a request in, frames and a reply out
construction.py   LangChain's object for a model of the configuration, or one sentence why there is none
invocation.py     OpenAI's parameters as those of LangChain's class, or a 400 that names the one it has not
conversation.py   OpenAI's messages as LangChain's
deltas.py         LangChain's chunks as OpenAI's deltas
failures.py       the errors of all providers' packages as ours
"""
