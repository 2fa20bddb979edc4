"""Trains a LoRA adapter for SmolLM2-135M-Instruct: ``python -m demo_model.lora pirate``.

Needs what the service does not: ``pip install peft==0.21.2 accelerate==1.15.0``. Deterministic for one
seed and one number of threads. Reads ``adapters/NAME.yaml``, writes ``adapters/NAME/``.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo_model.corpus import load_corpus
from demo_model.dialogues import DialogueWriter
from demo_model.held_out import load_held_out
from demo_model.phrasing import plain

ADAPTERS = Path(__file__).parent / "adapters"
BASE = Path(".chatllm/models/SmolLM2-135M-Instruct")
BASE_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOKENS_PER_BATCH = 512
IGNORED = -100
WARM_UP_STEPS = 5
SAVE_EVERY = 20

Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Lesson:
    """A conversation as tokens; ``targets`` are its answers' tokens, and ``IGNORED`` where something is asked."""

    ids: list[int]
    targets: list[int]


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    model = AutoModelForCausalLM.from_pretrained(arguments.base, dtype=torch.float32)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=arguments.rank,
        lora_alpha=2 * arguments.rank,
        target_modules=arguments.modules.split(","),
    )
    model = get_peft_model(model, config)
    model.print_trainable_parameters()
    source = conversations(arguments.data, arguments.seed)
    lessons = (lesson(tokenizer, turns) for turns in source)
    for step in fit(model, batches(lessons), arguments.steps, arguments.learning_rate):
        if step % SAVE_EVERY == 0 or step == arguments.steps:
            save(model, arguments.out or ADAPTERS / arguments.data)


def conversations(name: str, seed: int) -> Iterator[Turns]:
    """Yield endlessly: the pairs of a file in ever new order, or dialogues about the product."""
    if name == "guide":
        without = frozenset(plain(case.question) for case in load_held_out())
        for dialogue in DialogueWriter(load_corpus(), seed, without):
            yield [{"role": message.role, "content": message.text} for message in dialogue]
    pairs = yaml.safe_load((ADAPTERS / f"{name}.yaml").read_text(encoding="utf-8"))
    rng = random.Random(seed)
    while True:
        for pair in rng.sample(pairs, len(pairs)):
            yield [{"role": "user", "content": pair["ask"]}, {"role": "assistant", "content": pair["answer"]}]


def lesson(tokenizer: Any, turns: Turns) -> Lesson:
    """Return a conversation in the model's chat template; its answers count with the token that ends each."""
    ids: list[int] = []
    targets: list[int] = []
    for at, turn in enumerate(turns):
        text = tokenizer.apply_chat_template(
            turns[: at + 1], tokenize=False, add_generation_prompt=turn["role"] == "user"
        )
        new = tokenizer(text, add_special_tokens=False)["input_ids"][len(ids) :]
        ids += new
        targets += new if turn["role"] == "assistant" else [IGNORED] * len(new)
    return Lesson(ids, targets)


def batches(lessons: Iterator[Lesson]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield token ids, attention mask and targets of lessons of about the same length, padded at the end."""
    while True:
        pool = sorted(islice(lessons, 64), key=lambda one: len(one.ids))
        groups: list[list[Lesson]] = [[]]
        for one in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(one.ids) > TOKENS_PER_BATCH:
                groups.append([])
            groups[-1].append(one)
        random.shuffle(groups)
        yield from map(_padded, groups)


def _padded(group: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(one.ids) for one in group)
    ids = torch.zeros((len(group), longest), dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, one in enumerate(group):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        mask[row, : len(one.ids)] = 1
        targets[row, : len(one.ids)] = torch.tensor(one.targets)
    return ids, mask, targets


def fit(model: PeftModel, source: Iterator[Any], steps: int, peak_learning_rate: float) -> Iterator[int]:
    """AdamW on the adapter alone, at a rate that rises for a moment and then falls to zero; yields each step done."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    started, recent = time.monotonic(), 0.0
    for step, (ids, mask, targets) in enumerate(islice(source, steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = peak_learning_rate * min(step / WARM_UP_STEPS, (steps - step) / (steps - WARM_UP_STEPS))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent = loss.item() if step == 1 else 0.9 * recent + 0.1 * loss.item()
        if step % 5 == 0 or step == steps:
            wall_s, cpu_s = time.monotonic() - started, time.process_time()
            print(f"step {step}/{steps}  loss {recent:.3f}  wall {wall_s:.0f} s  cpu {cpu_s:.0f} s", flush=True)
        yield step


def save(model: PeftModel, folder: Path) -> None:
    """Write what vLLM reads, the weights in bfloat16."""
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.save_pretrained(folder)
    (folder / "adapter_model.safetensors").chmod(0o644)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_model.safetensors"
    save_file({name: weight.bfloat16() for name, weight in load_file(path).items()}, path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="pirate: adapters/pirate.yaml; guide: the dialogues of the demo model")
    parser.add_argument("--base", type=Path, default=BASE, help="folder of SmolLM2, as `chatllm up` unpacks it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=45)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--modules", default="q_proj,v_proj")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
