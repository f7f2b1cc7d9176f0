"""Several tokens of a sequence are read in one forward, whatever way it is computed."""

from dataclasses import replace

import pytest
import torch
from step_rows import judge
from transformers import BertConfig, BertForTokenClassification

from rewardsmith.models.shared_prefix.plan import prepare_model

GROUPS = [
    [[5, 6, 7, 8, 9, 10, 11, 12, 13], [5, 6, 7, 8, 9, 10, 20, 21], [5, 6, 7, 8, 9, 10, 20, 21, 22, 23]],
    [[30, 31, 32]],
    [[5, 6, 7, 8, 9, 10, 11, 12, 13]],
]
# Inside the shared prefix, at its end, inside the rests, at their ends.
PLACES = [[2, 5, 8], [5, 7], [2, 5, 6, 9], [1, 2], [8]]
SEQUENCES = [sequence for group in GROUPS for sequence in group]


def read_in_rows(model):
    found = [
        model(input_ids=torch.tensor([ids])).logits[0, places] for ids, places in zip(SEQUENCES, PLACES, strict=True)
    ]
    return torch.cat(found)


def gradients(model, logits):
    model.zero_grad()
    (logits * torch.linspace(1, -2, logits.numel()).view_as(logits)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("way", ["packed", "forked", "rows"])
def test_tokens_of_steps_are_those_of_separate_rows_with_their_gradient(way):
    model = judge()[0].double()
    model.dropout.p = 0.0
    plan = prepare_model(model)
    assert plan.way == "packed"
    batch = replace(plan, way=way).batch(GROUPS, None, PLACES)
    found, expected = model(reward_batch=batch).logits, read_in_rows(model)
    # The head computes in fp32.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients(model, found), gradients(model, expected), rtol=0, atol=1e-5)
    assert batch.distinct_tokens == (27 if way != "rows" else 30)


def test_a_token_in_a_shared_prefix_is_read_once():
    batch = prepare_model(judge()[0]).batch(GROUPS, None, PLACES)
    (chunk,) = batch.chunks
    assert len(batch.sequence_B) == 12
    assert len(chunk.last_U) == len(set(chunk.last_U.tolist())) == 9


def test_an_encoder_is_read_at_its_tokens():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertForTokenClassification(BertConfig(vocab_size=420, num_labels=2, **sizes)).eval()
    plan = prepare_model(model)
    assert plan.way == "rows"
    found = model(reward_batch=plan.batch(GROUPS, None, PLACES)).logits
    torch.testing.assert_close(found, read_in_rows(model), rtol=0, atol=1e-6)
