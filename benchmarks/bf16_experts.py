"""What bf16 costs in exactness where experts are chosen: rows and shared prefixes, each against fp32.

A router that sees two experts nearly tie may choose the other one in bf16, whichever way its tokens are computed. Tiny
models with random weights; differences are in standard deviations of the rewards.

    python benchmarks/bf16_experts.py                      a table of five families
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence

import torch
from tiny_families import VOCABULARY, tiny_language_model
from torch import Tensor
from transformers.utils import logging as transformers_logging

FAMILIES = ("llama", "qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3")
PROMPTS, ANSWERS, PROMPT_TOKENS, ANSWER_TOKENS = 10, 6, 30, (3, 30)


def some_groups(seed: int = 0) -> list[list[list[int]]]:
    """Return prompts of random tokens with answers of several lengths."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (count,), generator=draw).tolist()

    lengths = torch.randint(*ANSWER_TOKENS, (PROMPTS, ANSWERS), generator=draw).tolist()
    prompts = [tokens(PROMPT_TOKENS) for _ in lengths]
    return [[[*prompt, *tokens(n)] for n in row] for prompt, row in zip(prompts, lengths, strict=True)]


def rewards(folder: str, dtype: str, share: bool | None) -> tuple[str, Tensor]:
    """Return the way taken and every reward of a saved language model, under the same new head. Shapes: -> [B]."""
    from rewardsmith.models.heads import load_sequence_classifier
    from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

    torch.manual_seed(0)
    model, _ = load_sequence_classifier(folder, dtype=dtype)
    plan = prepare_model(model.eval(), share)
    return plan.way, torch.tensor([value for row in compute_rewards(model, some_groups(), plan=plan) for value in row])


def compare(family: str) -> tuple[str, list[Tensor]]:
    """Return the way taken, and the differences of rows and of shared prefixes from fp32, and from each other."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        tiny_language_model(family).save_pretrained(folder)
        _, exact = rewards(folder, "float32", False)
        _, rows = rewards(folder, "bfloat16", False)
        way, shared = rewards(folder, "bfloat16", None)
    return way, [(a - b).abs() / exact.std() for a, b in ((rows, exact), (shared, exact), (shared, rows))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print median, 95th percentile and maximum of each difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=FAMILIES)
    args = parser.parse_args(arguments)
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    torch.set_num_threads(1)
    print("| family | way | rows from fp32 | shared from fp32 | shared from rows |\n|---|---|---|---|---|")
    for family in args.families:
        way, differences = compare(family)
        cells = (
            ", ".join(f"{float(value):.3f}" for value in (part.median(), part.quantile(0.95), part.max()))
            for part in differences
        )
        print(f"| {family} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
