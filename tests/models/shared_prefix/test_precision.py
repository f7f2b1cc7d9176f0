"""Weights of another precision are held while a model computes, and come back."""

import torch
from torch import nn

from rewardsmith.models.shared_prefix.precision import in_float32, rounded


class Scaled(nn.Embedding):
    """A table that scales its rows, as Gemma's does."""

    def forward(self, ids):
        return super().forward(ids) * torch.tensor(1.7).to(self.weight.dtype)


def test_rounded_weights_are_those_of_bf16_and_come_back():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3, bias=False))
    ids, before = torch.arange(5), [p.detach().clone() for p in model.parameters()]
    with rounded(model) as can:
        assert can
        found = model(ids)
    table, weight = (value.bfloat16().float() for value in before)
    torch.testing.assert_close(found, table @ weight.T)
    assert all(torch.equal(p, value) for p, value in zip(model.parameters(), before, strict=True))
    with rounded(model.bfloat16()) as can:
        assert not can


def test_a_table_that_scales_its_rows_does_so_in_fp32_where_that_is_asked_for():
    model, ids = nn.Sequential(Scaled(5, 3), nn.Linear(3, 3, bias=False)).bfloat16(), torch.arange(5)
    table, weight = (p.detach().float() for p in model.parameters())
    with in_float32(model, whole_tables=True) as is_other, torch.no_grad():
        assert is_other
        torch.testing.assert_close(model(ids), 1.7 * table @ weight.T)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
