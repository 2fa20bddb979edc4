"""Trains ``guide`` from nothing: ``python -m demo_model.train``.

Deterministic for one seed and one number of threads. Writes ``weights/``.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo_model import WEIGHTS
from demo_model.batches import OPENING_WEIGHTS, Batch, batches
from demo_model.corpus import Corpus, load_corpus
from demo_model.dialogues import DialogueWriter
from demo_model.held_out import load_held_out
from demo_model.phrasing import plain
from demo_model.tokenizer import CONTEXT_TOKENS, train_tokenizer

TOKENS_PER_BATCH = 1024
PEAK_LEARNING_RATE = 1e-3
BEGINNINGS = 0.5
"""Share of the steps that practise only how an answer begins."""
WARM_UP_STEPS = 50


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    corpus = load_corpus()
    without = frozenset(plain(case.question) for case in load_held_out())
    tokenizer = train_tokenizer(_tokenizer_texts(corpus, without))
    model = LlamaForCausalLM(_architecture(tokenizer))
    print(f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens in the vocabulary", flush=True)
    source = lessons(corpus, tokenizer, arguments, without)
    for step in fit(model, source, arguments.steps):
        if step % arguments.save_every == 0 or step == arguments.steps:
            save(model, tokenizer, arguments.out)


def lessons(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, arguments: argparse.Namespace, without: frozenset[str]
) -> Iterator[Batch]:
    """First how each question's answer begins, then whole answers and conversations."""
    writer = DialogueWriter(corpus, arguments.seed, without)
    rng = random.Random(arguments.seed)
    beginnings = int(arguments.steps * BEGINNINGS)
    yield from islice(batches(writer.single(), tokenizer, TOKENS_PER_BATCH, rng, openings=1.0), beginnings)
    rest = arguments.steps - beginnings
    yield from islice(batches(writer, tokenizer, TOKENS_PER_BATCH, rng, openings=0.6), rest)


def fit(model: LlamaForCausalLM, source: Iterable[Batch], steps: int) -> Iterator[int]:
    """AdamW at a rate that rises for a moment and then falls to zero; yields the number of each step done."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.99), fused=True)
    started, tokens, recent = time.monotonic(), 0, [8.0, 8.0]
    for step, batch in enumerate(source, start=1):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        losses = _losses(model, batch)
        weights = batch.weights[:, 1:]
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += batch.ids.numel()
        first = losses.detach()[weights == OPENING_WEIGHTS[0]].mean().item()
        recent = [0.95 * old + 0.05 * new for old, new in zip(recent, (loss.item(), first), strict=True)]
        if step % 50 == 0 or step == steps:
            wall_s, cpu_s = time.monotonic() - started, time.process_time()
            print(
                f"step {step}/{steps}  loss {recent[0]:.3f}  first token {recent[1]:.3f}  "
                f"{tokens:,} tokens  wall {wall_s:.0f} s  cpu {cpu_s:.0f} s",
                flush=True,
            )
        yield step


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Weights in half precision; the template inside ``tokenizer_config.json``."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    copy.deepcopy(model).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    _name_known_tokenizer_class(folder / "tokenizer_config.json")


def _name_known_tokenizer_class(path: Path) -> None:
    """The class name that older and newer releases of transformers both know."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _architecture(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tokenizer_texts(corpus: Corpus, without: frozenset[str]) -> list[str]:
    writer = DialogueWriter(corpus, seed=1, without=without)
    return [message.text for dialogue in islice(writer, 3000) for message in dialogue]


def _losses(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The cross-entropy of each next token, of shape (dialogues, tokens - 1)."""
    logits = model(batch.ids[:, :-1]).logits
    targets = batch.ids[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


def _learning_rate(step: int, steps: int) -> float:
    return PEAK_LEARNING_RATE * min(step / WARM_UP_STEPS, (steps - step) / (steps - WARM_UP_STEPS))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2400, help="batches of about 1,024 tokens")
    parser.add_argument("--threads", type=int, default=1, help="two are faster, but only on idle cores")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=400, help="steps between two looks at a running training")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
