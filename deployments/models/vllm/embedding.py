"""vLLM's handler of embeddings, with answers that are written vector by vector. Imports vllm.

vLLM has the whole answer written in one call. It runs in a thread, but lets no other
thread run, the event loop's included: 0.1 s and more for 2,048 texts.
"""

from typing import Any

import orjson
from vllm.entrypoints.pooling.embed.protocol import EmbeddingResponse
from vllm.entrypoints.pooling.embed.serving import ServingEmbedding
from vllm.entrypoints.pooling.utils import (
    JsonEncodingFormat,
    encode_pooling_output_float_or_ndarray,
    get_pooling_output_encoder,
    get_pooling_usage,
)
from vllm.outputs import PoolingRequestOutput
from vllm.utils.serial_utils import EmbedDType, Endianness

from deployments.models.protocol import Reply


class Embedding(ServingEmbedding):
    """vLLM's handler, whose answers in JSON are a `Reply`."""

    def _openai_json_response(  # type: ignore[override]
        self,
        final_res_batch: list[PoolingRequestOutput],
        request_id: str,
        created_time: int,
        model_name: str,
        encoding_format: JsonEncodingFormat,
        embed_dtype: EmbedDType,
        endianness: Endianness,
    ) -> Reply:
        encode: Any = encode_pooling_output_float_or_ndarray
        if encoding_format != "float":
            encode = get_pooling_output_encoder(encoding_format, embed_dtype, endianness)
        usage = get_pooling_usage(final_res_batch)
        answer = EmbeddingResponse(id=request_id, created=created_time, model=model_name, data=[], usage=usage)
        head = orjson.dumps(answer.model_dump(exclude={"data"}))[:-1]
        vectors = b",".join(_written(at, encode(result)) for at, result in enumerate(final_res_batch))
        return Reply(b"".join((head, b',"data":[', vectors, b"]}")), usage.prompt_tokens, 0, "")


def _written(index: int, embedding: Any) -> bytes:
    item = {"index": index, "object": "embedding", "embedding": embedding}
    return orjson.dumps(item, option=orjson.OPT_SERIALIZE_NUMPY)
