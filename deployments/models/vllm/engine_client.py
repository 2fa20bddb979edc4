"""vLLM's engine client, with bounds around what becomes a grammar; it takes requests that begin in the middle.

Imports vllm.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestOutputCollector
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend
from vllm.v1.structured_output.request import get_structured_output_key
from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

from deployments.metrics.grammars import count_grammar
from deployments.models.vllm.grammar_check import GrammarCheck, Kind, Trial
from deployments.models.vllm.repeating import REPEATED_AT_ONCE, before, repeated_outputs
from deployments.models.vllm.resuming import let_resume, resumed_of

PARAMETER = "structured_outputs"

REFUSALS = {
    "too_slow": "The grammar takes too long to compile. Use a smaller one: fewer optional properties, shorter "
    "repetitions, simpler patterns.",
    "invalid": "The grammar is not valid, or uses what this server does not support.",
}


class BoundedLLM(AsyncLLM):
    """An `AsyncLLM` that gives its engine only grammars which compile in bounded time, and checks them off the loop."""

    def __init__(self, vllm_config: VllmConfig, *arguments: Any, **options: Any) -> None:
        self.can_resume = let_resume(vllm_config)
        """Whether its answers can begin with tokens that were generated elsewhere."""
        super().__init__(vllm_config, *arguments, **options)

    def bound_grammars(self, limit_s: float) -> None:
        """Refuse grammars that take more than `limit_s` seconds of CPU time to compile; call it once, before use."""
        self._structured_outputs = self.vllm_config.structured_outputs_config
        self._whitespace = not self._structured_outputs.disable_any_whitespace
        model, counted = str(self.model_config.served_model_name), count_grammar
        self.grammars = GrammarCheck(self._tokenizer_info, limit_s, lambda outcome, s: counted(model, outcome, s))
        # What vLLM would check in the event loop is done by `_checked`, in a thread.
        self.input_processor.structured_outputs_config = None  # type: ignore[assignment]

    def generate(self, prompt: Any, sampling_params: SamplingParams, *rest: Any, **named: Any) -> Any:
        """Return the outputs, as `AsyncLLM.generate` does."""
        if sampling_params.structured_outputs is None and not resumed_of(sampling_params):
            return super().generate(prompt, sampling_params, *rest, **named)
        return self._prepared(prompt, sampling_params, *rest, **named)

    async def _prepared(
        self, prompt: Any, sampling_params: SamplingParams, *rest: Any, **named: Any
    ) -> AsyncGenerator[RequestOutput]:
        if sampling_params.structured_outputs is not None:
            await self._check(sampling_params)
        repeated = len(resumed_of(sampling_params))
        outputs = super().generate(prompt, sampling_params, *rest, **named)
        try:
            async for output in outputs:
                yield output
                repeated -= 1
                if repeated > 0 and not repeated % REPEATED_AT_ONCE:
                    await asyncio.sleep(0)
        finally:
            await outputs.aclose()

    async def _add_request(
        self, request: EngineCoreRequest, prompt: Any, parent_req: Any, index: int, queue: RequestOutputCollector
    ) -> None:
        """Give a request to the engine; the outputs of tokens that it begins with come before the engine's own."""
        tokens = resumed_of(request.sampling_params)
        if not tokens:
            return await super()._add_request(request, prompt, parent_req, index, queue)
        processor = self.output_processor
        processor.add_request(request, prompt, parent_req, index, queue)
        state = processor.request_states[request.request_id]
        try:
            repeated = await repeated_outputs(self, request, tokens)
        except BaseException:
            processor.abort_requests([request.request_id], internal=True)
            raise
        queue.get_nowait = before(repeated, queue.get_nowait)
        if request.request_id in processor.request_states:  # its last token was not among them
            state.is_prefilling = True  # as the engine's statistics have it
            await self.engine_core.add_request_async(request)
        return None

    async def _check(self, sampling_params: SamplingParams) -> None:
        """Prepare a grammar for the engine; raises VLLMValidationError for one that is wrong or takes too long."""
        trial = self._trial(sampling_params)
        if trial is not None:
            refusal = REFUSALS.get(await self.grammars.outcome(trial))
            if refusal is not None:
                raise VLLMValidationError(refusal, parameter=PARAMETER)
        tokenizer = self.input_processor.tokenizer
        arguments = (self.model_config, self._structured_outputs, tokenizer)
        await asyncio.to_thread(sampling_params._validate_structured_outputs, *arguments)  # pyright: ignore[reportPrivateUsage]

    def _trial(self, sampling_params: SamplingParams) -> Trial | None:
        """Return the grammar to be tried, None where another back end than xgrammar compiles it."""
        outputs = sampling_params.structured_outputs
        if self._structured_outputs.backend not in ("auto", "xgrammar") or outputs is None or outputs.json_object:
            return None
        if outputs.choice:
            return Trial("grammar", choice_as_grammar(outputs.choice))
        name, spec = get_structured_output_key(outputs)
        kind: Kind = name.name.lower()  # type: ignore[assignment]
        if kind == "grammar" and grammar_is_likely_lark(spec):
            kind = "lark"
        return Trial(kind, spec, self._whitespace)

    def _tokenizer_info(self) -> str:
        vocabulary, tokenizer = self.model_config.get_vocab_size(), self.input_processor.get_tokenizer()
        backend = XgrammarBackend(self.vllm_config, tokenizer=tokenizer, vocab_size=vocabulary)
        return backend.compiler.compile_builtin_json_grammar().tokenizer_info.serialize_json()
