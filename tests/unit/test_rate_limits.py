"""What an API says of its rate limit."""

import pytest

from audit_ledger.recording.capture import rate_limits


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"ratelimit": '"default";r=50;t=30'}, 50),
        ({"ratelimit": '"minute";r=7;t=30, "day";t=4000;r=900'}, 7),
        ({"ratelimit": "limit=100, remaining=12, reset=5"}, 12),
        ({"ratelimit-remaining": "9"}, 9),
        ({"x-ratelimit-remaining": "41"}, 41),
        ({"x-rate-limit-remaining": "40"}, 40),
        ({"x-ratelimit-remaining-minute": "3", "x-ratelimit-remaining-day": "700"}, 3),
        ({"x-ratelimit-remaining": "-1"}, -1),
        ({"x-ratelimit-remaining": "many"}, None),
        ({"x-ratelimit-remaining": "1e9"}, None),
        ({"ratelimit": '"default";r=none'}, None),
        ({"ratelimit": '"r=5"'}, None),
        ({"retry-after": "5"}, None),
        ({"x-ratelimit-limit": "100"}, None),
        ({}, None),
    ],
)
def test_what_a_rate_limit_leaves(headers: dict[str, str], left: int | None) -> None:
    assert rate_limits.remaining(headers) == left
