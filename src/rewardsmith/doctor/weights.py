"""Weights and the config's labels: finite, one label, a head in fp32 that training has moved."""

from __future__ import annotations

import math

import torch
from torch import nn

from rewardsmith.doctor.subject import Subject
from rewardsmith.findings import Finding
from rewardsmith.models.heads import find_head

# A head drawn from a normal distribution keeps its standard deviation within so many standard errors.
STANDARD_ERRORS = 3.0


def check_number_of_labels(subject: Subject) -> Finding:
    """Find a head of several labels; Hugging Face assumes two where the config names none."""
    labels, rows = subject.model.config.num_labels, len(_head_weight(subject))
    if labels == 1 and rows == 1:
        return Finding("green", "labels", "one label")
    message = (
        f"the config says {labels} labels, the head gives {rows}: other tools apply a softmax or take the wrong one"
    )
    return Finding("red", "labels", message, "save with num_labels=1 and one entry in id2label")


def check_problem_type(subject: Subject) -> Finding:
    """Find a config that makes vLLM return sigmoid(reward)."""
    if subject.is_adapter:
        return Finding("green", "problem type", "an adapter has no config; merging it writes regression")
    found = getattr(subject.model.config, "problem_type", None)
    if found == "regression":
        return Finding("green", "problem type", "regression: vLLM returns the reward itself")
    message = f"problem_type is {found!r}: vLLM squashes one label through a sigmoid"
    return Finding("yellow", "problem type", message, 'write "problem_type": "regression" into config.json')


def check_finite_weights(subject: Subject) -> Finding:
    """Find weights that are NaN or infinite."""
    bad = [name for name, weight in subject.model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if not bad:
        return Finding("green", "finite weights", "every weight is finite")
    message = f"{len(bad)} tensors hold NaN or infinity, first {bad[0]}"
    remedy = "go back to an earlier checkpoint; lower the learning rate or train in fp32 or bf16 instead of fp16"
    return Finding("red", "finite weights", message, remedy)


def check_head_precision(subject: Subject) -> Finding:
    """Find a head in low precision: rewards then come in steps, and different answers tie."""
    dtype = _head_weight(subject).dtype
    if dtype in (torch.float32, torch.float64):
        return Finding("green", "head precision", str(dtype).removeprefix("torch."))
    name = str(dtype).removeprefix("torch.")
    message = f"the head is {name}: tools that compute it so give rewards in coarse steps, with false ties"
    return Finding("yellow", "head precision", message, "keep the head and its output in float32 (Rewardsmith does)")


def check_head_trained(subject: Subject) -> Finding:
    """Find a head that looks as drawn at random: zero mean and exactly an initialiser's spread. Suspicion only.

    A trained head may look so too, as training moves it little; a contract's record of training clears it.
    """
    weight = _head_weight(subject).detach().float().flatten()
    name = "head trained"
    if not bool(torch.isfinite(weight).all()):
        return Finding("red", name, "the head is not finite", "train again; see finite weights")
    if not bool(weight.any()):
        return Finding("red", name, "the head is all zero: every reward is equal", "train the model")
    contract = subject.contract
    if contract is not None and contract.data_fingerprint:
        return Finding("green", name, "the contract names the data that it was trained on")
    initialiser = drawn_from(weight, getattr(subject.config, "initializer_range", None))
    if initialiser is None:
        return Finding("green", name, f"its weights (spread {float(weight.std()):.4f}) are no known initialiser's")
    message = f"its weights have the mean and spread of {initialiser}: perhaps it was never trained"
    return Finding("yellow", name, message, "give DATA, so that its accuracy is measured; save the head when training")


def drawn_from(weight: torch.Tensor, initializer_range: float | None) -> str | None:
    """Name the initialiser whose mean and standard deviation the weights have, or None.

    Shapes: weight [D].
    """
    size = weight.numel()
    if size < 8:
        return None
    spread, mean = float(weight.std()), float(weight.mean())
    # The last is what torch.nn.Linear draws; its weights are also bounded, which a normal draw of that spread is not.
    uniform = size**-0.5
    if abs(spread - uniform / 3**0.5) < STANDARD_ERRORS * uniform / math.sqrt(6 * size) and (
        float(weight.abs().max()) <= uniform
    ):
        return "nn.Linear's U(-1/sqrt(d), 1/sqrt(d))"
    known = {"N(0, 1/(d+1))": (size + 1) ** -0.5, "OpenRLHF's N(0, 1/(d+1)^2)": 1 / (size + 1)}
    if initializer_range:
        known[f"N(0, {initializer_range}^2)"] = float(initializer_range)
    for name, expected in known.items():
        close = abs(spread - expected) < STANDARD_ERRORS * expected / math.sqrt(2 * size)
        if close and abs(mean) < STANDARD_ERRORS * expected / math.sqrt(size):
            return name
    return None


def _head_weight(subject: Subject) -> torch.Tensor:
    """Give the weight that reads the last hidden layer of the head. Shapes: -> [labels, D]."""
    head = find_head(subject.model)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return layers[-1].weight if layers else next(head.parameters())


WEIGHT_CHECKS = (
    check_number_of_labels,
    check_problem_type,
    check_finite_weights,
    check_head_precision,
    check_head_trained,
)
