"""The fitted head is the optimum of the loss that training has, plus the penalty."""

import pytest
import tiny_models
import torch
from small_runs import trainer_for

from rewardsmith.training.loss import combine

ROWS = tiny_models.pairs(40)


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("k_wise", "rao_kupper", "hinge")]


@pytest.mark.parametrize("loss_type", ["bradley_terry", "davidson", "plackett_luce", *SLOWLY])
def test_the_fit_is_the_optimum_of_loss_and_penalty(tmp_path, loss_type):
    rows = [
        {"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"]], "ranks": [1, 1 + (i % 5 > 0)]}
        for i, row in enumerate(ROWS)
    ]
    l2 = 0.05
    trainer = trainer_for(tmp_path, rows, freeze_backbone=True, loss_type=loss_type, sweep_l2=[l2], merge_prompts=True)
    trainer.train()
    table = trainer.frozen.features.table_UD
    spread = table.std(0, correction=0)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    weight = trainer.model.score.weight

    def value():
        rewards = trainer.model(reward_batch=batch["batch"]).logits[:, 0]
        return trainer.step_loss(rewards, batch["comparisons"]) + l2 / 2 * ((weight * spread) ** 2).sum()

    trainer.model.eval()
    best = float(value().detach())
    if loss_type != "hinge":
        # In units of the spread, as the fit has them; features are fp32.
        gradient = torch.autograd.grad(value(), weight)[0] / spread
        assert float(gradient.abs().max()) < 5e-4
    for seed in range(4):
        step = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)) / spread * 0.02
        with torch.no_grad():
            weight += step
            assert float(value()) > best
            weight -= step


def test_each_of_several_heads_is_fitted_to_its_own_draws_of_the_prompts(tmp_path):
    l2 = 0.05
    trainer = trainer_for(tmp_path, ROWS, freeze_backbone=True, ensemble=3, sweep_l2=[l2])
    trainer.train()
    spread = trainer.frozen.features.table_UD.std(0, correction=0)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    head = trainer.model.score
    trainer.model.eval()
    columns = trainer.model(reward_batch=batch["batch"]).logits
    terms = trainer.step_loss.terms_of_heads(columns, batch["comparisons"], batch["draws"])
    rows = head.weight + head.deviations - head.deviations.mean(0)
    value = combine(terms) + l2 / 2 * ((rows * spread) ** 2).sum(1).mean()
    for gradient in torch.autograd.grad(value, [head.weight, head.deviations]):
        assert float((gradient / spread).abs().max()) < 5e-4
    assert float(columns[:, 1:].std(1).detach().mean()) > 0.01
    assert trainer.frozen.chosen.accuracy != trainer.frozen.chosen.accuracy


def test_soft_labels_weights_and_margins_count_as_in_training(tmp_path):
    rows = [{**row, "margin": 0.1 * (i % 3), "weight": 1 + i % 2} for i, row in enumerate(ROWS)]
    trainer = trainer_for(tmp_path, rows, freeze_backbone=True, sweep_l2=[0.01], label_smoothing=0.1)
    trainer.train()
    fitted = trainer.frozen.chosen.loss
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] == pytest.approx(fitted, abs=1e-5)
