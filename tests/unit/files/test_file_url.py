"""`files.url`: what is no place for files is refused before anything starts."""

import pytest
from pydantic import ValidationError

from deployments.config import FileSettings


@pytest.mark.parametrize("url", ["file:///srv/chatllm/files", "memory://bucket/files", None])
def test_a_place_that_can_be_reached_is_accepted(url: str | None) -> None:
    assert FileSettings(url=url).url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/srv/files", "must be a URL"),
        ("s3://key:secret@bucket/files", "without credentials"),
        ("s3://bucket/files?key=secret", "without credentials"),
        ("file://srv/files", "whole path"),
        ("file:files", "whole path"),
        ("s3://bucket/files", "s3fs"),
        ("nowhere://bucket", "nowhere:// cannot be reached"),
    ],
)
def test_what_is_no_place_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        FileSettings(url=url)
