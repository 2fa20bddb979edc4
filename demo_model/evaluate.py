"""Puts the held-out questions to ``guide``: ``python -m demo_model.evaluate``.

A pass means that the answer names the right facts. Whether it also reads well
is for the reader of the printed answers to judge.
"""

import argparse
from pathlib import Path

import torch

from demo_model.answering import Guide
from demo_model.corpus import load_corpus
from demo_model.held_out import leaked, load_held_out
from demo_model.train import WEIGHTS


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    cases = load_held_out()
    if known := leaked(cases, load_corpus()):
        raise SystemExit(f"these questions stand in the training text: {known}")
    guide = Guide(arguments.weights)
    passed = 0
    for case in cases:
        answer = guide.answer(*case.before, case.question, temperature=arguments.temperature)
        missing = case.missing(answer)
        passed += not missing
        print(f"{'FAIL' if missing else 'pass'}  {case.question}")
        print("      " + answer.replace("\n", "\n      "))
        if missing:
            print(f"      lacks: {missing}")
    print(f"{passed} of {len(cases)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--threads", type=int, default=1, help="more help only on idle cores")
    return parser.parse_args()


if __name__ == "__main__":
    main()
