"""Embeddings out of the box: the model of configs/embeddings.yaml on the real engine, through real clients.

The vectors in minilm_vectors.json are those of sentence-transformers 6.2.0 itself, on a CPU in float32:
`SentenceTransformer(folder).encode(texts)`, where the folder is the one that `chatllm up` unpacks.
"""

import base64
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import yaml
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from tests.launched import ROOT, Launched, launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "minilm"
VECTORS = {
    text: np.frombuffer(base64.b64decode(vector), "<f4")
    for text, vector in json.loads((Path(__file__).parent / "minilm_vectors.json").read_text()).items()
}


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The shipped file without its chat model, which has tests of its own."""
    document = yaml.safe_load((ROOT / "configs/embeddings.yaml").read_text())
    document["applications"] = [one for one in document["applications"] if one["name"] != "model-smollm2"]
    with launched(document) as running:
        yield running


def test_vectors_are_those_of_sentence_transformers_in_every_form(service: Launched) -> None:
    texts = [*VECTORS]
    wanted = np.array([VECTORS[text] for text in texts])
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as api:
        for encoding in ("float", "base64"):
            answer = api.embeddings.create(model=MODEL, input=texts, encoding_format=encoding)
            data: list[Any] = [one.embedding for one in answer.data]
            if encoding == "base64":
                data = [np.frombuffer(base64.b64decode(one), "<f4") for one in data]
            assert np.abs(np.array(data) - wanted).max() < 1e-4
        alone = api.embeddings.create(model=MODEL, input=texts[0])
        assert np.abs(np.array(alone.data[0].embedding) - wanted[0]).max() < 1e-4
        assert alone.usage.prompt_tokens == 8

        with pytest.raises(openai.BadRequestError) as cut:
            api.embeddings.create(model=MODEL, input=texts, dimensions=8)  # the model was not trained for fewer
        assert "dimension" in cut.value.message.lower() or "matryoshka" in cut.value.message.lower()
        with pytest.raises(openai.BadRequestError) as foreign:  # token ids of OpenAI's tokenizer
            api.embeddings.create(model=MODEL, input=[[4438, 1317, 374, 279, 71542, 30]])
        assert "must come from its own tokenizer" in foreign.value.message

    langchain = OpenAIEmbeddings(
        model=MODEL, base_url=f"{service.url}/v1", api_key=SecretStr(service.key), check_embedding_ctx_length=False
    )
    assert np.abs(np.array(langchain.embed_documents(texts)) - wanted).max() < 1e-4
    near, far = wanted[0] @ np.array(langchain.embed_query(texts[1])), wanted[0] @ wanted[3]
    assert near > 0.8 > 0.2 > far
