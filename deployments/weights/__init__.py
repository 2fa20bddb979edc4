"""Weights in a GGUF file as the folder that vLLM serves, and the model that comes with the packages.

`bundled` knows where the model is and whether it is ready, and imports nothing heavy; `conversion`
runs in a process of its own, so that the launcher does not keep the memory.
"""
