"""`rewardsmith env`: what this machine runs with, to paste into a bug report."""

from __future__ import annotations

import argparse

# Packages that some part of the project can use, beside those that shape every result.
OPTIONAL = ("trl", "vllm", "deepspeed", "bitsandbytes", "flash-attn", "liger-kernel", "ray", "fastapi", "psycopg")


def configure(_: argparse.ArgumentParser) -> None:
    """Declare the flags: there are none."""


def run(_: argparse.Namespace) -> int:
    """Print one line a fact, as a Markdown list. Returns 0."""
    import platform

    import torch

    from rewardsmith.models.contract import package_versions
    from rewardsmith.training.record import versions

    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    installed = package_versions(OPTIONAL)
    missing = [name for name in OPTIONAL if name not in installed]
    facts = {
        **versions(),
        **installed,
        "not installed": ", ".join(missing) or "none",
        "platform": platform.platform(),
        "GPUs": ", ".join(gpus) or "none",
        "CUDA of torch": torch.version.cuda or "none",
        "threads of torch": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    return 0
