"""Stores of the user's own that do not answer: the reason, the remedy, and never the password."""

from collections.abc import Callable

import pytest

from deployments.local.processes.ports import free_block
from deployments.local.servers.external import require_postgres, require_redis
from deployments.local.state import LauncherError

PASSWORD = "hunter2"


CASES = [
    (require_postgres, "DATABASE_URL", "postgresql://me:{password}@127.0.0.1:{port}/chat"),
    (require_redis, "REDIS_URL", "redis://:{password}@127.0.0.1:{port}/0"),
]


@pytest.mark.parametrize(("require", "variable", "url"), CASES)
def test_nobody_there(require: Callable[[str], None], variable: str, url: str) -> None:
    with pytest.raises(LauncherError, match=rf"cannot be reached \(.*111.*\): check {variable}") as caught:
        require(url.format(password=PASSWORD, port=free_block(1)))
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("require", "variable", "url"), CASES)
@pytest.mark.parametrize("broken", ["nonsense", "http://127.0.0.1/x", ""])
def test_no_address_at_all(require: Callable[[str], None], variable: str, url: str, broken: str) -> None:
    with pytest.raises(LauncherError, match=f"check {variable}"):
        require(broken)


@pytest.mark.parametrize(("require", "variable", "url"), CASES)
def test_a_host_that_does_not_exist(require: Callable[[str], None], variable: str, url: str) -> None:
    with pytest.raises(LauncherError, match=f"check {variable}") as caught:
        require(url.replace("127.0.0.1", "nowhere.invalid").format(password=PASSWORD, port=1))
    assert PASSWORD not in str(caught.value)


def test_what_answers_passes(postgres_url: str, valkey_url: str) -> None:
    require_postgres(postgres_url)
    require_redis(valkey_url)
