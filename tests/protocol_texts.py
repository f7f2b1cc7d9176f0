"""Texts and a conversation that every protocol's tests send."""

import pytest

TEXT = "good answer to the question<|im_end|>"
OTHER = "awful<|im_end|>"
CHAT = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": "fine"}]


def near(value):
    """A reward to float32's accuracy."""
    return pytest.approx(value, abs=1e-5)
