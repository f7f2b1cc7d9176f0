"""Train and score tiny models of decoder families with compiled layers, beside uncompiled copies.

Twelve steps of SGD over groups of many lengths, then scoring: rewards and weights must agree, nothing may be compiled
after the first step but for a side of 4,096 tokens, and a family whose layers cannot be compiled says so in one line.

    python benchmarks/attack_compiled.py                              the families of FAMILIES, every way
    python benchmarks/attack_compiled.py qwen3_next --ways LoRA --backend inductor
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attack_families import make_subject, relative
from families import in_a_process
from hostile_settings import SETTINGS, Setting
from torch._dynamo.utils import counters
from transformers.utils import logging as transformers_logging

FAMILIES = [
    *("qwen3_next", "qwen3_moe", "gpt_oss", "jamba", "granitemoehybrid", "nemotron_h", "mamba2", "deepseek_v3"),
    *("cohere2", "gemma4_text"),
]
STEPS = 12
# Rewards in fp32, relative to the largest; weights, relative to the largest step that one took.
FAR = 1e-5
SECONDS = 1500
Groups = list[list[list[int]]]


def _frozen_backbone(model: Any) -> Any:
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(("score", "classifier", "head")))
    return model


WAYS: dict[str, Setting] = {
    "training": Setting(trains=True),
    "frozen backbone": Setting(_frozen_backbone, trains=True),
    **{name: SETTINGS[name] for name in ("checkpoints", "LoRA", "mean")},
    "parts": Setting(tokens_per_chunk=60, trains=True),
    "autocast": SETTINGS["autocast"],
}


def batches(seed: int) -> list[Groups]:
    """Return batches of groups, of many lengths."""
    rng, found = random.Random(seed), []
    for _ in range(STEPS):
        groups = []
        for _ in range(rng.choice((1, 2, 4))):
            prompt = rng.choices(range(3, 120), k=rng.choice((1, 5, 9, 17, 33, 40)))
            answers = rng.choice((1, 2, 3, 5))
            groups.append([[*prompt, *rng.choices(range(3, 120), k=rng.randint(1, 30))] for _ in range(answers)])
        found.append(groups)
    return found


def compiled_pieces() -> int:
    """Return how many pieces of code were compiled so far."""
    return counters["stats"]["unique_graphs"]


class Heard(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(record.getMessage())


def examine(family: str, folder: str, way: str, backend: str) -> dict[str, Any]:
    """Train and score both copies. Returns what was said, what was compiled when, and how far they differ."""
    from rewardsmith.models.compiling import Work, compile_layers
    from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

    heard = Heard()
    logging.getLogger("rewardsmith").addHandler(heard)
    setting = WAYS[way]
    plain = make_subject(family, folder, Setting(rounds="float32", pooling=setting.pooling)).model
    plain = setting.prepare(plain) if setting.prepare else plain
    other = copy.deepcopy(plain)
    plan, compiled_plan = prepare_model(plain.train(setting.trains)), prepare_model(other.train(setting.trains))
    said = compile_layers(other, "on", Work(1e15, True), forked=compiled_plan.way == "forked", backend=backend)
    found: dict[str, Any] = {"way": plan.way, "said": said}
    before = [p.detach().clone() for p in plain.parameters()]
    pieces, apart = [], []
    optimizers = [torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=1e-4) for m in (plain, other)]
    for groups in batches(0):
        rewards = []
        for model, its, optimizer in zip((plain, other), (plan, compiled_plan), optimizers, strict=True):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
                given = model(reward_batch=its.batch(groups, setting.tokens_per_chunk)).logits[:, 0]
            (torch.tanh(given) * torch.linspace(1, -2, len(given))).sum().backward()
            optimizer.step()
            rewards.append(given.detach())
        apart.append(relative(rewards[1:], rewards[:1]))
        pieces.append(compiled_pieces())
    moved = [[a.detach() - b for a, b in zip(m.parameters(), before, strict=True)] for m in (plain, other)]
    found |= {"rewards": max(apart), "weights": relative(moved[1], moved[0]), "pieces": pieces}
    plain.eval(), other.eval()
    scores, after = [], []
    for groups in batches(1):
        both = ((plain, plan), (other, compiled_plan))
        scores.append([[v for row in compute_rewards(m, groups, plan=its) for v in row] for m, its in both])
        after.append(compiled_pieces())
    found["scores"] = max(relative([torch.tensor(b)], [torch.tensor(a)]) for a, b in scores)
    found["pieces scoring"] = after
    found["breaks"] = {text.splitlines()[0][:100]: n for text, n in counters["graph_break"].items()}
    found["heard"] = heard.lines
    return found


def main() -> None:
    """Examine the named families, each in a process of its own; fail where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--backend", default="aot_eager", help="inductor needs a C++ compiler")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    torch.set_num_threads(1)
    rows = []
    for family in args.families:
        for way in args.ways:
            with tempfile.TemporaryDirectory() as folder:
                task = partial(examine, way=way, backend=args.backend)
                row = {"family": family, "setting": way, **in_a_process(task, family, folder, SECONDS)}
            rows.append(row)
            print(json.dumps(row), flush=True)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
