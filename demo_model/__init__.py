"""The small model that ships with ChatLLM: its corpus, its training and its weights."""
