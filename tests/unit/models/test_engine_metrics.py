"""What vLLM tells of a step reaches Ray's metrics at a price that does not grow with the tokens."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    from vllm.v1.metrics.stats import IterationStats

    from deployments.models.engine_metrics import thinned


def test_one_time_between_tokens_is_observed_for_each_step() -> None:
    stats = IterationStats()
    stats.num_generation_tokens = 64
    stats.inter_token_latencies_iter = [0.01 * number for number in range(1, 65)]
    stats.time_to_first_tokens_iter = [0.2, 0.3]

    fewer = thinned(stats)

    assert fewer is not None
    assert len(fewer.inter_token_latencies_iter) == 1
    assert fewer.inter_token_latencies_iter[0] in stats.inter_token_latencies_iter
    assert (fewer.num_generation_tokens, fewer.time_to_first_tokens_iter) == (64, [0.2, 0.3])
    assert len(stats.inter_token_latencies_iter) == 64, "other loggers see all of them"


def test_a_step_of_one_request_is_recorded_as_it_is() -> None:
    stats = IterationStats()
    stats.inter_token_latencies_iter = [0.02]

    assert thinned(stats) is stats
    assert thinned(None) is None
