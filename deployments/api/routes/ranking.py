"""`/v1/rerank` and `/v1/score`: how well texts fit together, for models that score (Cohere's and vLLM's shapes)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.api.routes.embeddings import MAX_TEXTS, Text
from deployments.api.schemas.openapi import documented
from deployments.api.schemas.pooling import Ranking, Scores
from deployments.api.stateless import ERRORS, ask
from deployments.chat.parameters import without_hints
from deployments.errors import BadRequest
from deployments.limits.estimate import pair_characters

router = APIRouter(tags=["ranking"])

MAX_CHARACTERS = 16 * 1024 * 1024
"""What a model may have to read: a query is read once for each document."""

TextOrTexts = str | Annotated[list[Text], msgspec.Meta(min_length=1)]


class TextDocument(msgspec.Struct):
    """A document as an object."""

    text: Text


class RerankRequest(msgspec.Struct):
    """Documents to be put in the order of their relevance to a query."""

    query: Text
    documents: Annotated[list[str | TextDocument], msgspec.Meta(min_length=1)]
    model: str | None = None
    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None


class ScoreRequest(msgspec.Struct):
    """Texts to be scored in pairs, under any of vLLM's names: one with each of the others, or two lists in turn."""

    model: str | None = None
    text_1: TextOrTexts | None = None
    text_2: TextOrTexts | None = None
    queries: TextOrTexts | None = None
    documents: TextOrTexts | None = None
    items: TextOrTexts | None = None
    data_1: TextOrTexts | None = None
    data_2: TextOrTexts | None = None


PAIRS = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
"""The names that the two sides can have."""

RERANK = documented(
    RerankRequest,
    Ranking,
    example={"query": "Where is the Rhine?", "documents": ["In Europe.", "On the moon."], "top_n": 1},
    errors=ERRORS,
)
SCORE = documented(
    ScoreRequest, Scores, example={"text_1": "the Rhine", "text_2": ["a river", "a tree"]}, errors=ERRORS
)


@router.post("/v1/rerank", response_model=None, openapi_extra=RERANK)
@router.post("/v2/rerank", response_model=None, openapi_extra=RERANK)
@router.post("/rerank", response_model=None, openapi_extra=RERANK)
async def rerank(request: Request) -> Response:
    """Order documents by their relevance to a query; a 400 names a model that cannot."""
    return await ask(request, "rerank", RerankRequest, _ranked, _finished)


@router.post("/v1/score", response_model=None, openapi_extra=SCORE)
@router.post("/score", response_model=None, openapi_extra=SCORE)
async def score(request: Request) -> Response:
    """Score pairs of texts; a 400 names a model that cannot."""
    return await ask(request, "score", ScoreRequest, _scored)


def _ranked(body: dict[str, Any]) -> Mapping[str, Any]:
    documents = [one["text"] if isinstance(one, dict) else one for one in body["documents"]]
    _check([body["query"]], documents, "documents")
    kept = without_hints(body)
    kept.pop("return_documents", None)
    return {**kept, "documents": documents}


def _finished(body: Mapping[str, Any], answer: bytes) -> bytes:
    """Return an answer without the documents, if they are not wanted."""
    if body.get("return_documents") is not False:
        return answer
    shown = orjson.loads(answer)
    for result in shown["results"]:
        result.pop("document", None)
    return orjson.dumps(shown)


def _scored(body: dict[str, Any]) -> Mapping[str, Any]:
    given = without_hints(body)
    sides = next(((one, other) for one, other in PAIRS if one in given and other in given), None)
    if sides is None:
        raise BadRequest("Two sides are needed: 'text_1' and 'text_2', or 'queries' and 'documents'.", "text_1")
    first, second = ([given[name]] if isinstance(given[name], str) else given[name] for name in sides)
    if len(first) not in (1, len(second)):
        raise BadRequest(f"'{sides[0]}' must be one text, or as many as '{sides[1]}' has.", sides[0])
    _check(first, second, sides[1])
    kept = {name: value for name, value in given.items() if name not in sides}
    return {**kept, "data_1": first, "data_2": second}


def _check(first: Sequence[str], second: Sequence[str], field: str) -> None:
    if len(second) > MAX_TEXTS:
        raise BadRequest(f"'{field}' may hold at most {MAX_TEXTS} texts.", field)
    if pair_characters(first, second) > MAX_CHARACTERS:
        raise BadRequest(f"All pairs together may have at most {MAX_CHARACTERS} characters.", field)
