"""Weights that ZeRO-3 holds in parts are whole inside a block, or while their module computes."""

import sys
import types
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from transformers.integrations import deepspeed as integration

from rewardsmith.models.heads import initialise_head
from rewardsmith.models.zero3 import gathered, gathered_in_turn, sharded, whole_models


@pytest.fixture
def model(monkeypatch):
    """Two layers whose weights are empty but inside a block, as under ZeRO-3."""

    @contextmanager
    def gather(parameters, modifier_rank):
        for parameter in parameters:
            parameter.data = parameter.whole
        yield
        for parameter in parameters:
            parameter.whole, parameter.data = parameter.data, torch.empty(0)

    package = types.SimpleNamespace(zero=types.SimpleNamespace(GatheredParameters=gather))
    monkeypatch.setitem(sys.modules, "deepspeed", package)
    built = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 1, bias=False))
    for parameter in built.parameters():
        parameter.ds_id, parameter.whole = 0, parameter.data
        parameter.data = torch.empty(0)
    return built


def test_a_new_head_is_initialised_where_it_is_held_in_parts(model):
    initialise_head(model[1], "zero")
    assert model[1].weight.numel() == 0
    assert not model[1].weight.whole.any()


def test_each_module_holds_its_weights_while_it_computes_and_no_longer(model):
    with gathered_in_turn(model):
        assert model(torch.ones(2, 16)).shape == (2, 1)
        assert all(parameter.numel() == 0 for parameter in model.parameters())
    with pytest.raises(RuntimeError):
        model(torch.ones(2, 16))


def test_weights_of_a_module_that_failed_are_let_go(model):
    with gathered_in_turn(model):
        with pytest.raises(RuntimeError):
            model(torch.ones(2, 3))
        assert all(parameter.numel() == 0 for parameter in model.parameters())


def test_whole_weights_need_no_deepspeed(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    layer = nn.Linear(2, 1)
    with gathered(sharded(layer)), gathered_in_turn(layer):
        assert layer(torch.ones(1, 2)).shape == (1, 1)


def test_a_model_of_one_process_is_loaded_whole_while_a_run_shards_its_own():
    config = type("Config", (), {"is_zero3": lambda self: True})()
    integration.set_hf_deepspeed_config(config)
    assert integration.is_deepspeed_zero3_enabled()
    with whole_models():
        assert not integration.is_deepspeed_zero3_enabled()
    assert integration.is_deepspeed_zero3_enabled()
    del config
    assert not integration.is_deepspeed_zero3_enabled()
