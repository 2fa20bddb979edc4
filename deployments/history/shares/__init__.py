"""Links under which others read a conversation, without a key.

store.py       the interface, and what a share is; postgres.py and memory.py implement it
"""
