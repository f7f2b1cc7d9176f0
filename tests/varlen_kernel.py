"""What torch's `varlen_attn` computes, run by run, for machines without its kernel."""

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from rewardsmith.models.shared_prefix import varlen, varlen_check


def reference_kernel(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    """Attend run by run, causally from the end of both. Shapes: query [T_q, H, D], key and value [T_k, H_kv, D]."""
    left, right = window_size
    assert right == 0, "everything here is causal"
    assert enable_gqa or query.shape[1] == key.shape[1]
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    outputs = []
    for (start, end), (first, last) in zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True):
        num_queries, num_keys = end - start, last - first
        assert 0 < num_queries <= min(max_q, num_keys)
        assert num_keys <= max_k
        place, index = torch.arange(num_queries)[:, None] + num_keys - num_queries, torch.arange(num_keys)
        seen = (index <= place) if left < 0 else (index <= place) & (index >= place - left)
        own = (tensor.transpose(0, 1) for tensor in (query[start:end], key[first:last], value[first:last]))
        outputs.append(scaled_dot_product_attention(*own, seen, scale=scale, enable_gqa=enable_gqa).transpose(0, 1))
    assert (end, last) == (len(query), len(key))
    return torch.cat(outputs)


def give_kernel(monkeypatch, kernel=reference_kernel):
    """Let the CPU gather keys, in every precision, and attend by a kernel of Python."""
    monkeypatch.setattr(varlen, "kernel", lambda: kernel)
    monkeypatch.setattr(varlen, "takes", lambda query, value: True)
    for module in (varlen, varlen_check):
        monkeypatch.setattr(module, "has_kernel", lambda device: True)
