"""The small model that ships with ChatLLM: its corpus, its training and its weights."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
