"""Limits are checked when they are set, and a refusal says what to do."""

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.serving.limits import EngineLimits, draining, expired, hung, invalid, overloaded, too_large


@pytest.mark.parametrize("name", ["tokens_per_batch", "max_queued_requests", "max_queued_tokens", "deadline_seconds"])
def test_limits_must_be_positive(name):
    with pytest.raises(ConfigError, match=name):
        EngineLimits(**{name: 0})


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (invalid("x"), 422, "invalid_input"),
        (too_large("x"), 413, "too_large"),
        (overloaded(2.2), 429, "overloaded"),
        (draining(), 503, "draining"),
        (hung(7.0), 503, "model_hung"),
        (expired(1.5), 504, "deadline"),
    ],
)
def test_a_refusal_knows_its_status_and_kind(refusal, status, kind):
    assert (refusal.status, refusal.kind) == (status, kind)


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (2.2, "3"), (600.0, "60")])
def test_who_is_refused_for_now_is_told_when_to_come_back(seconds, said):
    refusal = overloaded(seconds)
    assert refusal.headers == {"Retry-After": said}
    assert f"retry after {said} s" in str(refusal)


def test_a_batch_may_not_wait_a_negative_time():
    with pytest.raises(ConfigError, match="gather_seconds"):
        EngineLimits(gather_seconds=-0.1)
