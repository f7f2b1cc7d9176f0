"""The loss of judged steps."""

import math

import torch
from torch.nn import functional

from rewardsmith.objectives.steps import step_cross_entropy

LOGITS = torch.tensor([[0.0, 0.0], [2.0, -1.0], [-3.0, 4.0]])


def test_a_plain_label_gives_the_cross_entropy_of_its_class():
    found = step_cross_entropy(LOGITS, torch.tensor([1.0, 0.0, 1.0]))
    torch.testing.assert_close(found, functional.cross_entropy(LOGITS, torch.tensor([1, 0, 1]), reduction="none"))
    assert math.isclose(found[0], math.log(2), rel_tol=1e-6)


def test_a_soft_label_is_the_mixture_of_both():
    wrong, right = (step_cross_entropy(LOGITS, torch.full((3,), label)) for label in (0.0, 1.0))
    torch.testing.assert_close(step_cross_entropy(LOGITS, torch.full((3,), 0.25)), 0.75 * wrong + 0.25 * right)
