"""Call styles run with TRL and here give the same in float64, and what differs stands on the migration page."""

import forking
import pytest
import torch

# One of each kind: optimizers that amplify rounding, an order, a family, an adapter, an evaluation, what goes on.
TELLING = (
    "optim rmsprop",
    "setting data_seed",
    "setting seed",
    "family gpt2",
    "adapter LoRA head",
    "on_start",
    "resume",
)


@pytest.fixture
def beside(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import beside_trl

    return beside_trl


def test_every_reason_that_a_style_names_stands_on_the_page(beside):
    page = " ".join(beside.PAGE.read_text().split())
    assert len(beside.STYLES) > 300
    assert {name: style.page for name, style in beside.STYLES.items() if style.page not in page} == {}


def test_a_difference_is_told_by_what_differs(beside):
    weights = {"a": torch.ones(2), "b": torch.zeros(1)}
    theirs = beside.Outcome(None, weights, [{"loss": 0.5, "step": 1, "train_runtime": 3.0}], {"rewards": [1.0]})
    assert beside.differences(theirs, theirs, beside.NEAR) == []
    ours = beside.Outcome(None, {"a": torch.ones(2) + 1e-3}, [{"loss": 0.6, "step": 1}], {"rewards": [float("nan")]})
    assert beside.differences(theirs, ours, beside.NEAR) == [
        "no weight b",
        "weights 1.0e-03 (a)",
        "log loss at step 1: 0.5 / 0.6",
        "rewards: [1.0] / [nan]",
    ]


def test_nothing_of_float64_is_computed_in_float32(beside):
    half = torch.tensor([1 / 3], dtype=torch.float64)
    with beside.all_in_double():
        assert half.to(torch.float32).dtype == half.float().dtype == torch.float64
        assert half.softmax(-1, dtype=torch.float32).dtype == torch.float64
        assert half.to(torch.bfloat16).dtype == torch.bfloat16
    assert half.float().dtype == torch.float32


@pytest.mark.slow
def test_what_amplifies_rounding_is_the_same_in_float64(repository):
    result = forking.run([repository / "benchmarks" / "beside_trl.py", *TELLING])
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    assert "0 without a reason on the page" in result.stdout
