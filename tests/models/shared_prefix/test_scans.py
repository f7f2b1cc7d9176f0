"""A scan in chunks ends them where one scan over all tokens would, wherever what is read was cut."""

import inspect

import pytest
import tiny_models
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5

from rewardsmith.models.shared_prefix.past import KeysAndStates

SCAN = "torch_chunk_gated_delta_rule"


@pytest.fixture
def scanned(monkeypatch):
    """How many tokens each scan of Qwen3.5 read, in order."""
    own, lengths = inspect.unwrap(getattr(modeling_qwen3_5, SCAN)), []

    def scan(query, key, value, g, beta, chunk_size=64, **options):
        lengths.append(query.shape[1])
        return own(query, key, value, g, beta, chunk_size, **options)

    monkeypatch.setattr(modeling_qwen3_5, SCAN, scan)
    return lengths


def read(parts):
    """Return what a model gives for 140 tokens read at once, and in parts."""
    backbone = tiny_models.hybrid()[0].eval().model
    ids = (torch.arange(140) % 30 + 5)[None]
    past = KeysAndStates(backbone)
    found = torch.cat([past.read(backbone, part) for part in ids.split(parts, dim=1)], dim=1)
    return backbone(input_ids=ids, use_cache=False).last_hidden_state, found


def test_chunks_end_where_they_would_in_one_scan_and_a_gradient_reads_no_token_twice(scanned):
    with torch.no_grad():
        whole, found = read([70, 30, 40])
    assert scanned == [64, 6, 36, 64, 12, 140]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    scanned.clear()
    whole, found = read([70, 30, 40])
    assert scanned == [70, 30, 40, 140]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
