"""vLLM's own pooling models in a replica: one that scores pairs, made of the demo model and random numbers."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import pytest_asyncio
from safetensors.numpy import load_file, save_file

from demo_model import WEIGHTS
from deployments.config import VLLMModel
from deployments.models.protocol import Endpoint, Failed, ModelRequest, Reply
from deployments.models.vllm.replica import VLLMReplica

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own
    pytest.mark.asyncio(loop_scope="module"),
]

ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "max_model_len": 512,
    "enforce_eager": True,
    "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
    "runner": "pooling",
}
DOCUMENTS = ["a tree", "the river Rhine is long", "the moon"]


def scoring_model(folder: Path) -> Path:
    """Write a model that gives a pair of texts one number."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(WEIGHTS / name, folder / name)
    config = json.loads((WEIGHTS / "config.json").read_text())
    own = {"architectures": ["LlamaForSequenceClassification"], "num_labels": 1, "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps({**config, **own, "tie_word_embeddings": False}))
    weights = {name: value for name, value in load_file(WEIGHTS / "model.safetensors").items() if "lm_head" not in name}
    head = np.random.default_rng(7).normal(size=(1, config["hidden_size"])).astype(np.float16)
    save_file({**weights, "score.weight": head}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[VLLMReplica]:
    """A replica of that model; it is up in seconds."""
    folder = scoring_model(tmp_path_factory.mktemp("scoring"))
    replica = VLLMReplica(
        VLLMModel(id="scoring", engine={"model": str(folder), **ENGINE}, environment={"VLLM_CPU_KVCACHE_SPACE": "1"})
    )
    await replica.start()
    yield replica
    replica.stop()


async def answered(replica: VLLMReplica, endpoint: Endpoint, **body: Any) -> Any:
    """Return what the model answers, and the tokens that it says to have read."""
    request = {"model": "scoring", "cache_salt": "someone", **body}
    async for message in replica.generate(ModelRequest("0" * 32, orjson.dumps(request), False, endpoint=endpoint)):
        match message:
            case Reply(reply):
                answer = orjson.loads(reply)
                assert message.prompt_tokens == answer["usage"]["prompt_tokens"] > 0
                return answer
            case Failed(error):
                raise error
            case _:
                pass
    raise AssertionError("no answer")


async def test_it_scores_ranks_classifies_and_pools(replica: VLLMReplica) -> None:
    assert (await replica.traits()).output_modalities == ("labels", "scores")
    scores = await answered(replica, "score", data_1=["the Rhine"], data_2=DOCUMENTS)
    values = [item["score"] for item in scores["data"]]
    assert len(set(values)) == 3
    ranked = await answered(replica, "rerank", query="the Rhine", documents=DOCUMENTS, top_n=2)
    best = sorted(range(3), key=lambda at: values[at], reverse=True)[:2]
    assert [result["index"] for result in ranked["results"]] == best
    assert [result["document"]["text"] for result in ranked["results"]] == [DOCUMENTS[at] for at in best]
    assert [result["relevance_score"] for result in ranked["results"]] == pytest.approx([values[at] for at in best])
    classified = await answered(replica, "classification", input=DOCUMENTS)
    assert [(item["num_classes"], item["label"]) for item in classified["data"]] == [(1, "LABEL_0")] * 3
    pooled = await answered(replica, "pooling", input=DOCUMENTS[:1])
    assert len(pooled["data"]) == 1 and pooled["data"][0]["data"] == pytest.approx(classified["data"][0]["probs"])


async def test_what_it_cannot_do_is_said(replica: VLLMReplica) -> None:
    with pytest.raises(Exception, match="The model 'scoring' does not support embeddings"):
        await answered(replica, "embedding", input="a")
    with pytest.raises(Exception, match="The model 'scoring' does not support chat"):
        await answered(replica, "chat", messages=[{"role": "user", "content": "a"}])
    with pytest.raises(Exception, match="context"):
        await answered(replica, "rerank", query="word " * 600, documents=["a"])


async def test_several_requests_are_answered_at_once(replica: VLLMReplica) -> None:
    asked = [answered(replica, "score", data_1=["the Rhine"], data_2=[text]) for text in DOCUMENTS]
    alone = [(await answered(replica, "score", data_1=["the Rhine"], data_2=[text])) for text in DOCUMENTS]
    together = await asyncio.gather(*asked)
    assert [one["data"][0]["score"] for one in together] == pytest.approx([one["data"][0]["score"] for one in alone])
