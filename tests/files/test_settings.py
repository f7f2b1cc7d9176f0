"""Settings that people write: one line that names the key, and the nearest one that exists."""

import pytest
from pydantic import BaseModel, ConfigDict

from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import read_settings


class Wish(BaseModel):
    """Two keys."""

    model_config = ConfigDict(extra="forbid")
    colour: str
    size: int = 1


def test_what_is_right_is_read():
    assert read_settings(Wish, {"colour": "red"}, "wish 1") == Wish(colour="red", size=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"colour": "red", "sise": 2}, "wish 1: unknown key 'sise'; did you mean 'size'?"),
        ({"colour": "red", "xyz": 2}, "wish 1: unknown key 'xyz'; known: colour, size"),
        ({"size": 2}, "wish 1 has no 'colour'; give it"),
        ({"colour": "red", "size": "big"}, "wish 1: 'size' cannot be str 'big'"),
        (["red"], "wish 1 must be a mapping with the keys colour, size, not list"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_what_to_do(value, expected):
    with pytest.raises(ConfigError) as caught:
        read_settings(Wish, value, "wish 1")
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
