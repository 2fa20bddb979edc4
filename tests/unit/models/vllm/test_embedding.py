"""The answer to an embeddings request says what vLLM's own says, and is written in small pieces."""

import warnings
from typing import Any

import orjson
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    import torch
    from vllm.entrypoints.pooling.embed.serving import ServingEmbedding
    from vllm.entrypoints.pooling.utils import get_json_response_cls
    from vllm.outputs import PoolingOutput, PoolingRequestOutput

    from deployments.models.vllm import embedding
    from deployments.models.vllm.embedding import Embedding


def results(count: int, dimensions: int) -> list[PoolingRequestOutput]:
    generator = torch.Generator().manual_seed(0)
    return [
        PoolingRequestOutput(
            request_id=str(at),
            outputs=PoolingOutput(data=torch.rand(dimensions, generator=generator)),
            prompt_token_ids=[1, 2, 3],
            num_cached_tokens=0,
            finished=True,
        )
        for at in range(count)
    ]


@pytest.mark.filterwarnings("ignore:ORJSONResponse is deprecated")  # vLLM's own choice
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_the_answer_is_vllm_s(encoding_format: Any) -> None:
    arguments: Any = (results(5, 8), "embd-1", 7, "m", encoding_format, "float32", "native")
    ours = Embedding._openai_json_response(Embedding.__new__(Embedding), *arguments)
    handler = ServingEmbedding.__new__(ServingEmbedding)
    handler.json_response_cls = get_json_response_cls()
    theirs = orjson.loads(bytes(handler._openai_json_response(*arguments).body))
    assert orjson.loads(ours.body) == theirs
    assert ours.prompt_tokens == theirs["usage"]["prompt_tokens"] == 15


def test_a_large_answer_is_written_vector_by_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    class Noting:
        OPT_SERIALIZE_NUMPY = orjson.OPT_SERIALIZE_NUMPY

        @staticmethod
        def dumps(value: Any, **options: Any) -> bytes:
            nonlocal longest
            written = orjson.dumps(value, **options)
            longest = max(longest, len(written))
            return written

    monkeypatch.setattr(embedding, "orjson", Noting)
    reply = Embedding.__new__(Embedding)._openai_json_response(
        results(512, 1024), "embd-1", 7, "m", "float", "float32", "native"
    )
    assert len(reply.body) > 5_000_000 and longest < 30_000
