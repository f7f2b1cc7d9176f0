"""The GPU benchmark runs, on a CPU and a tiny shape, so that it works the day a GPU is at hand."""

import importlib
from types import SimpleNamespace

import forking
import pytest
import torch
from varlen_kernel import give_kernel


@pytest.mark.slow
def test_the_gpu_script_prints_its_table(repository):
    result = forking.run([repository / "benchmarks" / "gpu.py", "--dry-run"])
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    assert len([line for line in lines if line.startswith("| tiny")]) == 6
    for way in ("packed", "forked", "forked in parts"):
        for dtype in ("float32", "bfloat16"):
            assert any(f"exactness, tiny, torch.{dtype}, {way}: " in line for line in lines)
    shared = next(line for line in lines if line.startswith("two processes on one device, gloo"))
    assert float(shared.split()[-1]) < 1e-5
    assert "two processes on one device, nccl: needs CUDA" in lines
    assert "attention over gathered keys: not measured, it needs CUDA and torch 2.12" in lines


def test_attention_over_gathered_keys_is_timed_by_length(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    gathered_keys = importlib.import_module("gathered_keys")
    give_kernel(monkeypatch)
    done = []

    def once(work):
        work()
        done.append(work)
        return len(done) / 1000

    table = gathered_keys.rows(600, (4, 2, 16), torch.device("cpu"), once)
    assert len(done) == 12
    assert table[2] == "| 256 | 2 | 384 | 2.0 | 1.00 | 2.00 | 2.00 |"
    assert [row.split(" | ")[1] for row in table[2:]] == ["2", "4", "9"] * 2


def varlen(query, key, value, starts_q, starts_k, longest_q, longest_k, *, softmax_scale, causal, window_size):
    """Attend as FlashAttention's kernel of unequal lengths does: queries are the last ones of their keys."""
    parts = []
    for number in range(len(starts_q) - 1):
        own, seen = slice(*starts_q[number : number + 2]), slice(*starts_k[number : number + 2])
        q, k, v = query[own].transpose(0, 1), key[seen].transpose(0, 1), value[seen].transpose(0, 1)
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        grouped = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=softmax_scale, enable_gqa=True
        )
        parts.append(grouped.transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.slow
def test_trls_tree_attention_gives_the_rewards_and_gradients_of_packed_prefixes(repository, monkeypatch):
    packing = pytest.importorskip("trl.experimental.async_grpo.packing")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    gpu, peers = importlib.import_module("gpu"), importlib.import_module("shared_prefix_peers")
    monkeypatch.setattr(packing, "_flash_attn", lambda: SimpleNamespace(flash_attn_varlen_func=varlen))
    built = []

    def build(attention):
        built.append(gpu.build("tiny", torch.device("cpu"), torch.float32, attention))
        return built[-1]

    groups = gpu.make_groups(gpu.Case("tiny", 3, 64))
    theirs = peers.trl_tree(build, groups[0])()
    ours = gpu.build("tiny", torch.device("cpu"), torch.float32)
    torch.testing.assert_close(gpu.step(ours, gpu.prepare_model(ours, share=True).batch(groups)), theirs)
    assert gpu.difference(gpu.gradients(built[0]), gpu.gradients(ours)) < 1e-4
