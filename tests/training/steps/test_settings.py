"""Settings of steps, and which of whole texts they refuse."""

import pytest

from rewardsmith import PRMConfig, RewardConfig
from rewardsmith.errors import ConfigError


def config(kind=PRMConfig, **settings):
    return kind("out", use_cpu=True, report_to="none", **settings)


def test_the_defaults_of_trl_hold():
    found = config()
    assert (found.learning_rate, found.max_length, found.step_separator) == (1e-5, 1024, "\n")
    assert not found.train_on_last_step_only
    assert found.max_completion_length is None
    assert found.logging_steps == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ties": "skip"}, "ties has no effect on steps; leave it out"),
        ({"pooling": "mean"}, "pooling has no effect on steps"),
        ({"ensemble": 3}, "ensemble has no effect on steps"),
        ({"overflow": "truncate_prompt"}, "overflow has no effect on steps"),
        ({"neutral_steps": "good"}, "neutral_steps must be one of right, wrong, half, skip"),
        ({"step_format": "text"}, "step_format must be one of plain, chat"),
        ({"max_prompt_length": 0}, "max_prompt_length must be a positive number of tokens"),
    ],
)
def test_what_concerns_whole_texts_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_settings_of_steps_are_refused_for_whole_texts():
    with pytest.raises(ConfigError, match="step_separator has no effect on bradley_terry; leave it out, or take loss"):
        config(RewardConfig, step_separator="<s>")
