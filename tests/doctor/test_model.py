"""Faults planted in the weights, the head and the behaviour of a healthy model are named; without one it is silent."""

import pytest
import tiny_models
import torch
from healthy_models import found, healthy

from rewardsmith.doctor import examine_loaded
from rewardsmith.doctor.model import chosen_rows, drawn_from
from rewardsmith.doctor.subject import Subject
from rewardsmith.models.rendering import Renderer


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda weight: torch.nn.init.normal_(weight, std=0.02), "N(0, 0.02^2)"),
        (lambda weight: torch.nn.init.kaiming_uniform_(weight[None], a=5**0.5), "nn.Linear"),
        (lambda weight: torch.nn.init.normal_(weight, std=0.4), None),
    ],
)
def test_an_initialiser_is_known_by_its_spread(draw, name):
    torch.manual_seed(0)
    weight = torch.empty(512)
    draw(weight)
    found = drawn_from(weight, 0.02)
    assert found is None if name is None else name in found


def test_a_config_that_pads_with_another_token_changes_batched_rewards():
    model, tokenizer = healthy()
    model.config.pad_token_id = 7
    assert found(model, tokenizer, "batch size").level == "red"


def test_two_labels_are_red():
    from transformers import AutoModelForSequenceClassification, Qwen2Config

    sizes = tiny_models._decoder_sizes()
    model = AutoModelForSequenceClassification.from_config(Qwen2Config(**sizes, num_labels=2, pad_token_id=0))
    assert found(model, healthy()[1], "labels").level == "red"


def test_weights_that_are_not_finite_are_red():
    model, tokenizer = healthy()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    assert found(model, tokenizer, "finite weights").level == "red"
    assert "up_proj" in found(model, tokenizer, "finite weights").message
    assert found(model, tokenizer, "rewards").level == "red"


def test_a_head_of_zeros_is_red_and_gives_equal_rewards():
    model, tokenizer = healthy()
    torch.nn.init.zeros_(model.score.weight)
    assert found(model, tokenizer, "head trained").level == "red"
    assert found(model, tokenizer, "rewards").level == "red"


@pytest.mark.parametrize("std", [0.02, 33**-0.5, 1 / 33])
def test_a_head_as_drawn_by_an_initialiser_is_suspicious(std):
    model, tokenizer = healthy()
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight, std=std)
    assert found(model, tokenizer, "head trained").level == "yellow"


def test_a_head_as_drawn_by_nn_linear_is_suspicious():
    model, tokenizer = healthy()
    torch.manual_seed(0)
    model.score = torch.nn.Linear(model.score.in_features, 1, bias=False)
    finding = found(model, tokenizer, "head trained")
    assert (finding.level, "nn.Linear" in finding.message) == ("yellow", True)


def test_a_head_in_bf16_and_a_missing_problem_type_are_yellow():
    model, tokenizer = healthy()
    model.score.to(torch.bfloat16)
    model.config.problem_type = None
    by_check = {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_check = {f.check: f.level for f in examine_loaded(model, tokenizer)}
    assert (by_check["head precision"], by_check["problem type"]) == ("yellow", "yellow")


def test_left_padding_that_changes_rewards_is_red():
    model, tokenizer = healthy("bert")
    tokenizer.padding_side = "left"
    assert found(model, tokenizer, "padding side").level == "red"


def test_no_row_of_the_plain_call_is_longer_than_the_model_reads():
    model, tokenizer = tiny_models.bert()
    rows = [[2] + [5] * 900, [2] + [6] * 40]
    subject = Subject(model, tokenizer, model.config, Renderer(tokenizer), rows=rows)
    assert max(map(len, chosen_rows(subject))) <= 512
