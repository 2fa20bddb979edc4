"""The process that tokenizes texts which are too long to be a prompt.

    python -m deployments.models.vllm.token_process

The tokenizers library computes beside other threads, but hands over and frees its
results, millions of objects, in calls that let none run. On the standard input come
the tokenizer (tokenizers' own JSON) and then requests, each after its length in eight
bytes; answers go the same way to the standard output. The process ends with its input.
"""

import contextlib
import os
import resource
import struct
import sys
from typing import Any, BinaryIO

import orjson

LENGTH = struct.Struct(">Q")
NICENESS = 5
MEMORY_BYTES = 8 << 30


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    from tokenizers import Tokenizer

    start = orjson.loads(_read(requests))
    tokenizer = Tokenizer.from_str(start["tokenizer"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = start["splits_special_tokens"]
    while request := _read(requests):
        answer = _answer(tokenizer, orjson.loads(request))
        answers.write(LENGTH.pack(len(answer)))
        answers.write(answer)
        answers.flush()


def _answer(tokenizer: Any, request: dict[str, Any]) -> bytes:
    """Return the answer to a tokenize request, in vLLM's shape."""
    tokens = tokenizer.encode(request["prompt"], add_special_tokens=request["add_special_tokens"]).ids
    strings = [tokenizer.id_to_token(token) for token in tokens] if request["return_token_strs"] else None
    size = {"count": len(tokens), "max_model_len": request["max_model_len"]}
    return orjson.dumps({**size, "tokens": tokens, "token_strs": strings})


def _read(requests: BinaryIO) -> bytes:
    head = requests.read(LENGTH.size)
    return requests.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


if __name__ == "__main__":
    os.nice(NICENESS)
    with contextlib.suppress(ValueError, OSError):  # a stricter limit is there already
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)
