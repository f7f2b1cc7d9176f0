"""Weights that are stored in float16 train to numbers, near those of float32, and a resumed run goes on from them."""

import copy

import pytest
import tiny_models
import torch
from accelerate.utils import DistributedType
from datasets import Dataset

from rewardsmith import RewardConfig, RewardTrainer
from rewardsmith.training.precision import COPY, keep_copies

ROWS = Dataset.from_list(tiny_models.pairs(17))


@pytest.fixture
def start(tmp_path):
    def make(dtype=torch.float16, folder="run", **changes):
        model, tokenizer = tiny_models.qwen2()
        given = {"per_device_train_batch_size": 4, "max_steps": 4, "learning_rate": 0.01, "report_to": "none"}
        given |= {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "verify_saved_model": False} | changes
        args = RewardConfig(output_dir=str(tmp_path / folder), **given)
        return RewardTrainer(copy.deepcopy(model).to(dtype), args, train_dataset=ROWS, processing_class=tokenizer)

    return make


def test_float16_weights_stay_numbers_at_a_high_rate(start):
    """Unseen tokens have no gradient: in float16 their step would be 0 / (0 + 0)."""
    trainer = start(learning_rate=0.1, max_steps=5)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, weight in trainer.model.named_parameters():
        assert weight.dtype == torch.float16
        assert weight.isfinite().all(), name
        assert not torch.equal(weight, before[name]), name


def test_float16_weights_follow_those_of_float32(start):
    runs = [start(dtype) for dtype in (torch.float32, torch.float16)]
    before = dict(start().model.named_parameters())
    for trainer in runs:
        trainer.train()
    whole, half = (dict(trainer.model.named_parameters()) for trainer in runs)
    moved = sum((whole[name] - before[name]).abs().sum() for name in whole)
    apart = sum((whole[name] - half[name].float()).abs().sum() for name in whole)
    assert apart < 0.2 * moved


def test_a_resumed_run_goes_on_from_the_float32_copies(start):
    whole = start(save_strategy="steps", save_steps=2)
    whole.train()
    resumed = start(save_strategy="steps", save_steps=2)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-2")
    for (name, one), (_, other) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("dtype", "kind", "distributed", "is_kept"),
    [
        (torch.float16, torch.optim.AdamW, DistributedType.NO, True),
        (torch.bfloat16, torch.optim.AdamW, DistributedType.NO, False),
        (torch.float16, torch.optim.SGD, DistributedType.NO, False),
        (torch.float16, torch.optim.AdamW, DistributedType.FSDP, False),
    ],
)
def test_copies_are_kept_where_a_step_would_divide_by_zero(tmp_path, dtype, kind, distributed, is_kept):
    weight = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    optimizer = kind([weight], lr=0.1)
    keep_copies(optimizer, distributed, RewardConfig(output_dir=str(tmp_path), use_cpu=True))
    held = optimizer.param_groups[0]["params"][0]
    assert (held is not weight) == is_kept
    weight.grad = torch.tensor([1e-4, 0.0], dtype=dtype)
    optimizer.step()
    assert (COPY in optimizer.state[held]) == is_kept
    assert not is_kept or weight.tolist() == pytest.approx([0.9, 0.999], abs=2e-3)
