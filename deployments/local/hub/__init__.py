"""The launcher's models from a Hugging Face hub: what a name means, what is on the disk, what works offline."""
