"""Sides and shares on the command line."""

import pytest

from rewardsmith.cli.data_split import parse_shares
from rewardsmith.errors import ConfigError


def test_sides_keep_their_order_and_shares():
    assert list(parse_shares("train=0.8, dev=0.1,test=0.1").items()) == [("train", 0.8), ("dev", 0.1), ("test", 0.1)]


@pytest.mark.parametrize("text", ["train", "train=much", "held_back=0.5,test=0.5", "a b=1", "train=nan,test=1"])
def test_what_is_no_share_is_named(text):
    with pytest.raises(ConfigError, match="share"):
        parse_shares(text)
