"""Whatever scores is opened by its name; settings that it cannot take are said or refused."""

import logging

import pytest

from rewardsmith.clients.client import RewardClient
from rewardsmith.clients.opening import open_scorer
from rewardsmith.errors import ConfigError
from rewardsmith.scoring.opening import ModelOptions


def test_an_address_opens_a_client_that_cuts_prompts_on_wish():
    scorer = open_scorer("http://127.0.0.1:9", ModelOptions(truncate_prompt=True))
    assert isinstance(scorer, RewardClient)


def test_a_server_has_no_members_and_no_device(caplog):
    with pytest.raises(ConfigError, match="leave --ensemble out"):
        open_scorer("http://127.0.0.1:9", ensemble=["other"])
    with caplog.at_level(logging.WARNING):
        open_scorer("simulator:gold", ModelOptions(device="cpu"))
    assert "simulator:gold is no local model: --device had no effect on it" in caplog.text
