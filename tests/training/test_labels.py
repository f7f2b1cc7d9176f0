"""What rows hold beside their order is said where the objective does not read it."""

import logging

import pytest
import torch
from datasets import Dataset

from rewardsmith.objectives import OBJECTIVES, make_comparisons
from rewardsmith.training.labels import ComparisonTask, label_columns, log_objective, tie_share

ROWS = {"is_tie": [[False, True], [False]], "weight": [[1.0, 1.0], [3.0]], "probability": [[1.0, 0.5], [0.8]]}
ROWS |= {"margin": [[2.0, 0.0], [0.5]]}


@pytest.mark.parametrize(
    ("loss_type", "said"),
    [
        ("bradley_terry", ["objective bradley_terry, margins from 0.5 to 2 in units of the reward (logits)"]),
        (
            "rao_kupper",
            [
                "objective rao_kupper, which reads no margins",
                "rao_kupper does not read the margins of 2 comparisons: they train as if there were none; loss_type "
                "bradley_terry, k_wise, scaled_bradley_terry, hinge read them",
            ],
        ),
    ],
)
def test_what_an_objective_does_not_read_is_counted(loss_type, said, caplog):
    caplog.set_level(logging.INFO)
    log_objective(loss_type, label_columns(Dataset.from_dict(ROWS)))
    assert caplog.messages == said


def test_a_ranking_objective_reads_order_alone(caplog):
    caplog.set_level(logging.INFO)
    log_objective("plackett_luce", label_columns(Dataset.from_dict(ROWS)))
    assert "margins of 2, weights of 1, soft labels of 1 comparisons" in caplog.text
    caplog.clear()
    log_objective("plackett_luce", {"margin": [0.0], "weight": [1.0], "probability": [0.5]})
    assert caplog.messages == ["objective plackett_luce, no margins"]


def test_what_is_read_changes_the_loss_and_what_is_not_does_not():
    rewards, values = torch.tensor([0.3, -0.2]), {"margin": 0.7, "probability": 0.8}
    for objective in OBJECTIVES.values():
        extra = (torch.tensor(0.5),) if objective.start_threshold else ()
        plain = objective.function(rewards, make_comparisons([0], [1]), *extra)
        for name, value in values.items():
            other = objective.function(rewards, make_comparisons([0], [1], **{name: [value]}), *extra)
            before, after = (x[0] if objective.kind == "listwise" else x for x in (plain, other))
            assert (name in objective.reads) == (not torch.equal(before, after))


def test_the_share_of_ties_is_that_of_all_comparisons():
    assert tie_share(label_columns(Dataset.from_dict(ROWS))) == pytest.approx(1 / 3)
    assert tie_share(label_columns(None)) == 0.1


def test_predictions_are_the_rewards_of_both_sides():
    task, comparisons = ComparisonTask(), make_comparisons([0, 2], [1, 0])
    shown = task.shown(torch.tensor([[3.0], [1.0], [2.0]]), comparisons)
    predictions, labels = task.predictions(shown)
    assert predictions.tolist() == [[3.0, 1.0], [2.0, 3.0]]
    assert labels.tolist() == [0, 0]


def test_labels_follow_the_rows_that_a_data_set_chooses_in_lists_and_alone():
    chosen = Dataset.from_dict(ROWS | {"tie_share": [0.5, 0.25]}).select([1])
    found = label_columns(chosen)
    assert {name: values.tolist() for name, values in found.items()} == {
        "is_tie": [False],
        "margin": [0.5],
        "weight": [3.0],
        "probability": [0.8],
        "tie_share": [0.25],
    }
    assert tie_share(label_columns(chosen.select([]))) == 0.1
