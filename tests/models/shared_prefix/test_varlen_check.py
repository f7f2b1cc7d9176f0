"""A kernel is used where it is exact in the precision that will be used; else FlexAttention stays, and it is said."""

import logging

import pytest
import tiny_models
import torch
from varlen_kernel import give_kernel, reference_kernel

from rewardsmith.models.shared_prefix.attention import IMPLEMENTATION
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.shared_prefix.varlen import GATHERING


def prepared(dtype):
    """Return by which attention a tiny model is packed."""
    model = tiny_models.qwen2()[0].to(dtype).train()
    plan = prepare_model(model)
    assert (plan.way, plan.narrows, model.training) == ("packed", True, True)
    return model.config._attn_implementation


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_kernel_that_is_exact_is_used_and_asked_in_the_precisions_that_may_be(dtype, monkeypatch):
    assert prepared(dtype) == IMPLEMENTATION, "there is no kernel on a CPU"
    met = []

    def noting(query, key, value, *args, **options):
        met.append((query.dtype, query.requires_grad, query.shape[-1]))
        return reference_kernel(query, key, value, *args, **options)

    give_kernel(monkeypatch, noting)
    assert prepared(dtype) == GATHERING
    halves = {torch.bfloat16, torch.float16} if dtype == torch.float32 else {dtype}
    assert {(kind, grad) for kind, grad, size in met if size != 32} == {(h, g) for h in halves for g in (True, False)}


def from_the_start(query, key, value, ends_q, ends_k, *args, **options):
    """Attend as if every run's first query stood at its first key."""
    begun = torch.cat([key[first : first + n] for first, n in zip(ends_k, ends_q.diff(), strict=False)])
    other = torch.cat([value[first : first + n] for first, n in zip(ends_k, ends_q.diff(), strict=False)])
    return reference_kernel(query, begun, other, ends_q, ends_q, *args, **options)


def wider(*args, window_size, **options):
    left = window_size[0]
    return reference_kernel(*args, window_size=(left + 1 if left >= 0 else left, 0), **options)


def without_gradient(query, key, value, *args, **options):
    return reference_kernel(query, key.detach(), value, *args, **options) + 0 * key.sum()


def failing(*args, **options):
    raise RuntimeError("no kernel image is available")


FAULTS = {
    from_the_start: "a kernel with window None differs",
    wider: "a kernel with window 3 differs",
    without_gradient: "a kernel with window None differs",
    failing: "no kernel image is available",
}


@pytest.mark.parametrize("kernel", FAULTS)
def test_a_kernel_that_is_not_exact_or_fails_is_left_out_and_said_so(kernel, monkeypatch, caplog):
    give_kernel(monkeypatch, kernel)
    with caplog.at_level(logging.WARNING, logger="rewardsmith"):
        assert prepared(torch.bfloat16) == IMPLEMENTATION
    (line,) = [record.getMessage() for record in caplog.records if "FlexAttention" in record.getMessage()]
    assert FAULTS[kernel] in line


@pytest.mark.parametrize("what", ["a few tokens differ", "the gradient of a few tokens differs"])
def test_a_kernel_that_fails_in_the_model_alone_is_left_out(what, monkeypatch, caplog):
    def kernel(query, key, value, *args, **options):
        attended = reference_kernel(query, key, value, *args, **options)
        if query.shape[-1] == 32:
            return attended
        return attended * 1.5 if what == "a few tokens differ" else attended.detach() + 0 * query

    give_kernel(monkeypatch, kernel)
    with caplog.at_level(logging.WARNING, logger="rewardsmith"):
        assert prepared(torch.bfloat16) == IMPLEMENTATION
    assert what in caplog.text
