import pytest

from deployments.infra.redis.errors import StoreError, translated


def test_a_connection_that_was_closed_while_it_was_written_to_is_a_failure_of_the_connection():
    writer = None
    with pytest.raises(StoreError) as caught, translated():
        writer.writelines([b"PING"])  # type: ignore[attr-defined]
    assert caught.value.kind == "connection"


def test_a_fault_of_our_own_is_none_of_the_stores():
    with pytest.raises(AttributeError), translated():
        (None).keys  # type: ignore[attr-defined]  # noqa: B018
