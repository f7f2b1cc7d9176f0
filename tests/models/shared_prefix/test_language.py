"""The language-model loss over shared prefixes is that of the language model on separate rows, gradients included."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM

from rewardsmith.models.shared_prefix import language
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model

GROUPS = [
    [[5, 6, 7, 8, 9], [5, 6, 7, 8, 11, 12], [5, 6, 7]],
    [[20, 21], [20, 22, 23, 24]],
    [[30, 31, 32], [30, 31, 32]],
]
WANTED = torch.tensor([True, True, False, False, True, True, True])
ROWS = [sequence for group in GROUPS for sequence in group]


@pytest.fixture
def model():
    made, _ = tiny_models.qwen2()
    made.config.tie_word_embeddings = True
    torch.nn.init.normal_(made.score.weight, std=0.5)
    return made.train()


def plain_losses(model):
    """Return the losses and the gradient of the embeddings, by transformers' own language model row by row."""
    plain = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager")
    plain.model.load_state_dict(model.model.state_dict())
    plain.tie_weights()
    losses = []
    for row, is_wanted in zip(ROWS, WANTED.tolist(), strict=True):
        ids = torch.tensor([row])
        losses.append(plain(input_ids=ids, labels=ids).loss if is_wanted else torch.zeros(()))
    found = torch.stack(losses)
    (found * torch.arange(1.0, 8.0)).sum().backward()
    return found.detach(), plain.model.embed_tokens.weight.grad


@pytest.mark.parametrize("way", ["packed", "forked", "rows"])
@pytest.mark.parametrize("at_once", [1024, 3], ids=["whole", "in parts"])
def test_it_equals_that_of_separate_rows(model, way, at_once, monkeypatch):
    monkeypatch.setattr(language, "TOKENS_AT_ONCE", at_once)
    expected, gradient = plain_losses(model)
    assert prepare_model(model).way == "packed"
    batch = ForwardPlan(way, "a test").batch(GROUPS, 9 if way == "rows" else None)
    output = model(reward_batch=_asked(batch))
    # Two equal rows are one sequence, whose loss both have.
    torch.testing.assert_close(output.text_losses[WANTED], expected[WANTED], rtol=1e-5, atol=1e-5)
    (output.text_losses * torch.where(WANTED, torch.arange(1.0, 8.0), 0.0)).sum().backward()
    assert (model.model.embed_tokens.weight.grad - gradient).norm() < 1e-5 * gradient.norm()


@pytest.mark.parametrize("way", ["packed", "forked", "rows"])
def test_rewards_beside_it_are_those_without_it(model, way):
    prepare_model(model)
    batch = ForwardPlan(way, "a test").batch(GROUPS)
    torch.testing.assert_close(model(reward_batch=_asked(batch)).logits, model(reward_batch=batch).logits)


def test_a_batch_without_a_chosen_side_has_a_loss_of_zero_with_a_gradient(model):
    batch = prepare_model(model).batch(GROUPS)
    losses = model(reward_batch=_asked(batch, torch.zeros(7, dtype=torch.bool))).text_losses
    assert losses.requires_grad
    assert losses.tolist() == [0.0] * 7


def _asked(batch, wanted=WANTED):
    return replace(batch, reads_text_B=wanted)
