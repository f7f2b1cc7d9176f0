"""Call styles of TRL's RewardTrainer, each run with TRL and here on the same data, and what differs.

Everything is computed in float64, so what differs is computed in another way and not only rounded in another way;
`--float32` says what rounding makes of it. A style that differs names the words of docs/migrating-from-trl.md that say
why; one that differs without words is an error.

    python benchmarks/beside_trl.py [PART OF A NAME ...] [--float32] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import io
import json
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import trl
import trl_styles
import trl_styles_code
import trl_styles_methods
from datasets import disable_progress_bars
from torch import nn
from trl_styles import Place, Style

import rewardsmith

STYLES = {**trl_styles.STYLES, **trl_styles_code.STYLES, **trl_styles_methods.STYLES}
PAGE = Path(__file__).resolve().parents[1] / "docs" / "migrating-from-trl.md"
# Relative. Trainer sums the loss that it logs in float32 whatever the model is.
NEAR = {"weights": 1e-8, "logs": 2e-6}
NEAR_FLOAT32 = {"weights": 2e-6, "logs": 2e-6}
# What a clock says, and what the libraries call themselves.
UNTOLD = ("runtime", "per_second", "total_flos", "_mem_")


@contextlib.contextmanager
def all_in_double() -> Iterator[None]:
    """Leave what is float64 as it is where a family computes a part in float32."""
    homes = {(torch.Tensor, "to"), (torch.Tensor, "float"), (torch.Tensor, "softmax"), (nn.functional, "softmax")}
    kept = {home: getattr(*home) for home in homes}

    def staying(call: Any, name: str) -> Any:
        def stay(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if tensor.dtype != torch.float64:
                return call(tensor, *args, **kwargs)
            if name == "float":
                return tensor
            args = tuple(torch.float64 if value is torch.float32 else value for value in args)
            kwargs = {name: torch.float64 if value is torch.float32 else value for name, value in kwargs.items()}
            return call(tensor, *args, **kwargs)

        return stay

    for (owner, name), call in kept.items():
        setattr(owner, name, staying(call, name))
    try:
        yield
    finally:
        for (owner, name), call in kept.items():
            setattr(owner, name, call)


@dataclass
class Outcome:
    """What one library made of a style: an error, or weights, what was logged and what else the style looked at."""

    error: Exception | None = None
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    logs: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def run(library: Any, style: Style, place: Place) -> Outcome:
    """Run a style with TRL or with Rewardsmith."""
    place = place.beside(library.__name__)
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            trainer = style.build(library, place)
            facts = style.act(trainer) or {}
    except Exception as error:
        return Outcome(error)
    weights = {name: p.detach().double().clone() for name, p in trainer.model.named_parameters()}
    logs = [dict(row) for row in trainer.state.log_history]
    return Outcome(None, weights, logs, facts)


def differences(theirs: Outcome, ours: Outcome, near: Mapping[str, float]) -> list[str]:
    """Say what of TRL's outcome is otherwise in ours, one part each; what is only ours is no difference."""
    found = []
    missing = sorted(theirs.weights.keys() - ours.weights.keys())
    if missing:
        found.append(f"no weight {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    shared = {name: value for name, value in theirs.weights.items() if name in ours.weights}
    if wrong := [name for name, value in shared.items() if value.shape != ours.weights[name].shape]:
        found.append(f"another shape of {wrong[0]}")
        shared = {name: value for name, value in shared.items() if name not in wrong}
    size = max((float(value.abs().max()) for value in shared.values() if value.numel()), default=1.0)
    far = {name: float((value - ours.weights[name]).abs().max()) / size for name, value in shared.items()}
    worst = max(far, key=lambda name: far[name] if far[name] == far[name] else math.inf, default=None)
    if worst is not None and not far[worst] <= near["weights"]:
        found.append(f"weights {far[worst]:.1e} ({worst})")
    found += _log_differences(theirs.logs, ours.logs, near["logs"])
    found += [
        f"{name}: {_short(value)} / {_short(ours.facts.get(name))}"
        for name, value in theirs.facts.items()
        if not is_near(value, ours.facts.get(name), near["logs"])
    ]
    return found


def _log_differences(theirs: list[dict[str, float]], ours: list[dict[str, float]], near: float) -> list[str]:
    if len(theirs) != len(ours):
        return [f"{len(theirs)} log rows / {len(ours)}"]
    worst: dict[str, tuple[float, str]] = {}
    for a, b in zip(theirs, ours, strict=True):
        for name, value in a.items():
            if any(word in name for word in UNTOLD) or is_near(value, b.get(name), near):
                continue
            said = f"log {name} at step {a['step']}: {_short(value)} / {_short(b.get(name))}"
            gap = abs(value - b[name]) if name in b and isinstance(value, float) else math.inf
            if name not in worst or gap > worst[name][0]:
                worst[name] = (gap, said)
    return [said for _, said in worst.values()]


def is_near(a: Any, b: Any, near: float) -> bool:
    """Whether two values are one to a relative difference; numbers near 0 are held against 0.01."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(is_near(value, b.get(name), near) for name, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(is_near(x, y, near) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (a != a and b != b) or abs(a - b) <= near * max(abs(a), abs(b), 0.01)
    return bool(a == b)


def _short(value: object) -> str:
    text = f"{value:.7g}" if isinstance(value, float) else str(value)
    return text if len(text) < 90 else f"{text[:87]}..."


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:160]


def compare(style: Style, place: Place, near: Mapping[str, float]) -> dict[str, Any]:
    """Return what became of a style in both libraries: `outcome` in one word, and what differs."""
    theirs, ours = run(trl, style, place), run(rewardsmith, style, place)
    if theirs.error and ours.error:
        alike = isinstance(ours.error, type(theirs.error)) or isinstance(theirs.error, type(ours.error))
        found = [] if alike else [f"{_said(theirs.error)} / {_said(ours.error)}"]
        return {"outcome": "refused by both", "differs": found, "said": _said(ours.error)}
    if theirs.error:
        return {"outcome": "runs here alone", "differs": [f"TRL: {_said(theirs.error)}"]}
    if ours.error:
        return {"outcome": "refused here", "differs": [_said(ours.error)]}
    found = differences(theirs, ours, near)
    return {"outcome": "differs" if found else "same", "differs": found}


def main() -> int:
    """Run the styles and print a line for each; 1 where one differs without words on the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only styles whose name holds one of these")
    parser.add_argument("--float32", action="store_true", help="compute in float32, as runs do")
    parser.add_argument("--json", type=Path, help="also write what was found here, and go on from it")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    disable_progress_bars()
    # What is imported is most of what a collection of garbage looks at, and Trainer collects at every start.
    gc.freeze()
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    chosen = {name: s for name, s in STYLES.items() if not given.names or any(part in name for part in given.names)}
    results = json.loads(given.json.read_text()) if given.json and given.json.is_file() else {}
    dtype, near = (torch.float32, NEAR_FLOAT32) if given.float32 else (torch.float64, NEAR)
    folder = Path(tempfile.mkdtemp())
    exact = functools.partial(contextlib.nullcontext) if given.float32 else all_in_double
    try:
        with exact():
            for name in [name for name in chosen if name not in results]:
                style = chosen[name]
                found = compare(style, Place(folder, dtype), near)
                found["page"] = style.page
                found["unexplained"] = bool(found["differs"]) and not (style.page and style.page in page)
                results[name] = found
                mark = "!!" if found["unexplained"] else "  "
                print(
                    f"{mark} {name}: {found['outcome']}" + "".join(f"; {part}" for part in found["differs"]), flush=True
                )
                if given.json:
                    given.json.write_text(json.dumps(results, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    counts = {
        word: sum(r["outcome"] == word for r in results.values()) for word in {r["outcome"] for r in results.values()}
    }
    unexplained = [name for name, found in results.items() if found["unexplained"]]
    print(f"{len(results)} styles: " + ", ".join(f"{n} {word}" for word, n in sorted(counts.items())))
    print(f"{len(unexplained)} without a reason on the page: {', '.join(unexplained) or 'none'}")
    return int(bool(unexplained))


if __name__ == "__main__":
    raise SystemExit(main())
