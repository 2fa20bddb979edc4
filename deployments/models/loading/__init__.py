"""Whether a model can load, how far it has come, and why it failed."""
