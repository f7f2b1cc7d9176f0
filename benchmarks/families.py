"""Write the table of decoder families in docs/compatibility.md: which way each shares its prefixes, and how exactly.

Each family is a tiny random language model. It is loaded as a reward model, its rewards and gradients are compared with
those of separate rows, and it is saved and loaded again, by Rewardsmith and, in a process that cannot import
Rewardsmith, by plain transformers. A family has a process of its own with a limit of time and memory.

    python benchmarks/families.py                  all families; writes docs/compatibility.md
    python benchmarks/families.py llama mamba      prints the lines of some
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny_families import decoder_families, has_classifier, tiny_language_model
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
BEGIN, END = "<!-- families -->", "<!-- end of families -->"
# Of processor time, which a busy machine does not shorten.
SECONDS, MEMORY = 240, 12 << 30
# How many times as long on the clock.
PATIENCE = 30
ID = [3 + (7 * i) % 113 for i in range(113)]
# Two groups: three answers of 7, 12 and 1 tokens after 23, and two after 17.
GROUPS = [
    [[*ID[:23], *ID[30:37]], [*ID[:23], *ID[40:52]], [*ID[:23], ID[60]]],
    [[*ID[50:67], *ID[20:23]], [*ID[50:67], *ID[3:33]]],
]
# Above these, relative to the largest reward and gradient, a family is not exact.
FAR = 1e-4


@dataclass
class Family:
    """What was found for one model type; differences are relative to the largest reward and gradient."""

    name: str
    way: str = "error"
    reason: str = ""
    reward: float | None = None
    gradient: float | None = None
    saved: float | None = None
    plain: float | None = None
    own_head: bool = field(default=False)

    @property
    def is_shared(self) -> bool:
        """Whether the prefixes are computed once, exactly."""
        return self.way in ("packed", "forked") and max(self.reward or 0, self.gradient or 0) < FAR


def examine(name: str, folder: str) -> dict[str, Any]:
    """Compare the shared forward with separate rows, and save the model to `folder`/reward."""
    from rewardsmith.models.heads import copy_code, load_sequence_classifier
    from rewardsmith.models.shared_prefix.forward import batch_rewards
    from rewardsmith.models.shared_prefix.packing import pad_rows
    from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

    torch.manual_seed(0)
    tiny_language_model(name).save_pretrained(f"{folder}/language")
    model, _ = load_sequence_classifier(f"{folder}/language")
    plan = prepare_model(model)
    model.save_pretrained(f"{folder}/reward")
    copy_code(f"{folder}/reward", model)
    rows = [batch_rewards(model, pad_rows([[s]], pad_token_id=0)) for group in GROUPS for s in group]
    separate = torch.cat(rows)
    wanted = _gradients(model, separate)
    shared = batch_rewards(model, plan.batch(GROUPS))
    found = _gradients(model, shared)
    again, _ = load_sequence_classifier(f"{folder}/reward", trust_remote_code=True)
    loaded = torch.tensor([value for row in compute_rewards(again, GROUPS) for value in row])
    Path(f"{folder}/rewards.json").write_text(json.dumps(separate.tolist()))
    scale = max(float(gradient.abs().max()) for gradient in wanted)
    gradient = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)) / scale
    return {
        "way": plan.way,
        "reason": plan.reason,
        "reward": _relative(shared, separate),
        "gradient": gradient,
        "saved": _relative(loaded, separate),
    }


def load_plainly(name: str, folder: str) -> dict[str, Any]:
    """Load the saved model with transformers alone."""
    sys.modules["rewardsmith"] = None  # type: ignore[assignment]
    model = AutoModelForSequenceClassification.from_pretrained(f"{folder}/reward", trust_remote_code=True).eval()
    with torch.no_grad():
        values = [float(model(input_ids=torch.tensor([s])).logits) for group in GROUPS for s in group]
    expected = torch.tensor(json.loads(Path(f"{folder}/rewards.json").read_text()))
    return {"plain": _relative(torch.tensor(values), expected)}


def _gradients(model: nn.Module, rewards_B: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    (rewards_B * torch.linspace(1, -2, len(rewards_B))).sum().backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def _relative(values: torch.Tensor, expected: torch.Tensor) -> float:
    return float((values - expected).abs().max() / expected.abs().max())


def in_a_process(
    task: Callable[[str, str], dict[str, Any]], name: str, folder: str, seconds: int = SECONDS
) -> dict[str, Any]:
    """Run a task in a fork, within seconds of processor time and MEMORY. Returns what it did, or `{"reason": ...}`."""
    answer = Path(folder) / "answer.json"
    answer.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(task, name, folder, answer, seconds))
    process.start()
    process.join(PATIENCE * seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return {"reason": f"gave nothing in {PATIENCE * seconds} s"}
    if process.exitcode == -signal.SIGXCPU:
        return {"reason": f"took over {seconds} s"}
    return json.loads(answer.read_text()) if answer.exists() else {"reason": f"ended with {process.exitcode}"}


def _answer(task: Callable[[str, str], dict[str, Any]], name: str, folder: str, answer: Path, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    warnings.simplefilter("ignore")
    try:
        found = task(name, folder)
    except Exception as error:
        if os.environ.get("FAMILIES_DEBUG"):
            traceback.print_exc()
        found = {"reason": f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:150]}"}
    answer.write_text(json.dumps(found))


def family(name: str) -> Family:
    """Examine one family in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        found = in_a_process(examine, name, folder)
        if "way" in found:
            plain = in_a_process(load_plainly, name, folder)
            found |= {"plain": plain.get("plain"), "reason": found["reason"] or plain.get("reason", "")}
            if "plain" not in plain:
                found["reason"] += f"; plain transformers: {plain['reason']}"
    return Family(name, own_head=not has_classifier(name), **found)


def main() -> None:
    """Examine the named families, or all of them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json", type=Path, help="also write what was found here")
    args = parser.parse_args()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    torch.set_num_threads(1)
    found = []
    for name in args.names or decoder_families():
        found.append(family(name))
        print(_line(found[-1]), flush=True)
    if not args.names:
        write_page(found)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in found], indent=1))


def write_page(found: list[Family]) -> None:
    """Put the table between the marks of docs/compatibility.md."""
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(found)}{END}{after}")


def table(found: list[Family]) -> str:
    """Return the table, those that were tried first, and how many of them share."""
    tried = [row for row in found if row.way != "error"]
    shared = sum(row.is_shared for row in tried)
    failed = [row for row in found if row.way == "error"]
    lines = [
        f"{len(tried)} families were tried: {shared} share their prefixes ({100 * shared / max(1, len(tried)):.0f}%). "
        f"Of {len(failed)} more no tiny reward model could be made and compared.",
        "",
        "| family | head | way | reward | gradient | saved | plain | reason |",
        "|---|---|---|---|---|---|---|---|",
        *map(_line, tried),
        "",
        "| not compared | what came |",
        "|---|---|",
        *(f"| {row.name} | {_cell(row.reason)} |" for row in failed),
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text that fits a table's cell, without the names of temporary folders."""
    return re.sub(r"/tmp/\S+?/(language|reward)", r"\1", text).replace("|", "/").strip()


def _line(row: Family) -> str:
    numbers = [row.reward, row.gradient, row.saved, row.plain]
    shown = " | ".join("-" if number is None else f"{number:.0e}" for number in numbers)
    head = "ours" if row.own_head else "transformers'"
    return f"| {row.name} | {head} | {row.way} | {shown} | {'' if row.reason == 'exact' else _cell(row.reason)} |"


if __name__ == "__main__":
    main()
