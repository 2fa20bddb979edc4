"""Answers with transformers, without a server: for the evaluation and the tests."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo_model.train import WEIGHTS


class Guide:
    """The trained model, held in memory in single precision."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def answer(self, *turns: str, temperature: float = 0.0, max_tokens: int = 400) -> str:
        """The reply to the last of ``turns``, which alternate between user and assistant."""
        roles = ("user", "assistant")
        messages = [{"role": roles[index % 2], "content": turn} for index, turn in enumerate(turns)]
        return self.reply(messages, temperature, max_tokens)

    def reply(self, messages: list[dict[str, str]], temperature: float = 0.0, max_tokens: int = 400) -> str:
        """Greedy at temperature 0; stops at the end token or after ``max_tokens``."""
        prompt = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        output = self._model.generate(**prompt, **sampling, max_new_tokens=max_tokens)
        return self._tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
