"""Statistics of an answer."""

from ui.i18n import t
from ui.state.generation import Answer


def answer_stats(answer: Answer) -> list[str]:
    """Return one short text per known statistic."""
    stats: list[str] = []
    if answer.from_cache:
        stats.append(t("From cache"))
    if answer.was_joined:
        stats.append(t("Joined an answer in progress"))
    if answer.end.completion_tokens:
        stats.append(t("{count} tokens", count=f"{answer.end.completion_tokens:,}"))
    if answer.first_token_at is not None and not answer.was_taken_up:
        stats.append(t("first token after {seconds} s", seconds=f"{answer.first_token_at - answer.requested_at:.2f}"))
        took_s = (answer.ended_at or answer.first_token_at) - answer.first_token_at
        if answer.end.completion_tokens > 1 and took_s > 0 and not answer.from_cache:
            stats.append(t("{rate} tokens/s", rate=f"{(answer.end.completion_tokens - 1) / took_s:,.0f}"))
    if answer.end.prompt_tokens:
        stats.append(t("{count} prompt tokens", count=f"{answer.end.prompt_tokens:,}"))
    return [*stats, answer.model]
