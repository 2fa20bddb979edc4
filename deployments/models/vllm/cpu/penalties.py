"""Penalties on the tokens that an answer already holds, on a CPU.

vLLM counts every token of the vocabulary for each sequence and each token anew: 1 ms of a step with 49,152 of them.
Only the tokens of the answer have to be touched.
"""

import torch
from vllm.utils.torch_utils import make_tensor_with_pad
from vllm.v1.sample.ops import penalties

with_repetition = penalties.apply_all_penalties


def apply_all_penalties(
    logits: torch.Tensor,
    prompt_token_ids: torch.Tensor,
    presence_penalties: torch.Tensor,
    frequency_penalties: torch.Tensor,
    repetition_penalties: torch.Tensor,
    output_token_ids: list[list[int]],
) -> torch.Tensor:
    """Lower the logits (sequences, vocabulary) in place as OpenAI defines the penalties, and return them.

    A repetition penalty, which weighs on the prompt's tokens too, is left to vLLM, for the whole batch.
    """
    if bool((repetition_penalties != 1).any()):
        return with_repetition(
            logits, prompt_token_ids, presence_penalties, frequency_penalties, repetition_penalties, output_token_ids
        )
    tokens = make_tensor_with_pad(output_token_ids, pad=-1, dtype=torch.int64, device="cpu")
    if not tokens.shape[1]:
        return logits
    is_token = (tokens >= 0) & (tokens < logits.shape[1])
    # Padding stands for a token of the sequence: the presence penalty is set, not added, and the other one is 0 for it.
    tokens = tokens.where(is_token, tokens.amax(dim=1, keepdim=True).clamp(0, logits.shape[1] - 1))
    present = (presence_penalties.unsqueeze(1) * is_token.any(dim=1, keepdim=True)).expand_as(tokens)
    logits.scatter_(1, tokens, logits.gather(1, tokens) - present)
    return logits.scatter_add_(1, tokens, -frequency_penalties.unsqueeze(1) * is_token)
