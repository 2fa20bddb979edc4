"""The files of a model on this machine: Hugging Face's cache, headers of safetensors, and how much memory they take."""
