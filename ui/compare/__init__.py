"""The compare page: two answers to one prompt, side by side."""
