"""Run a benchmark by name."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.evaluation.benchmarks import (
    judge_bench,
    llmbar,
    m_reward_bench,
    pandalm,
    ppe,
    process_bench,
    reward_bench,
    reward_bench_2,
    rm_bench,
    rmb,
    subsets_of_pairs,
)
from rewardsmith.evaluation.benchmarks.result import Benchmark, BenchmarkResult, rows_of
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import score_groups
from rewardsmith.evaluation.scorers import as_scorer

BENCHMARKS: dict[str, Benchmark] = {
    "reward-bench": reward_bench.BENCHMARK,
    "reward-bench-legacy": reward_bench.LEGACY,
    "reward-bench-2": reward_bench_2.BENCHMARK,
    "rm-bench": rm_bench.BENCHMARK,
    "judge-bench": judge_bench.BENCHMARK,
    "rmb": rmb.BENCHMARK,
    "ppe-human": ppe.HUMAN,
    "ppe-correctness": ppe.CORRECTNESS,
    "llmbar": llmbar.BENCHMARK,
    "faireval": llmbar.BENCHMARK,
    "pandalm": pandalm.BENCHMARK,
    "auto-j": subsets_of_pairs.AUTO_J,
    "hhh": subsets_of_pairs.HHH,
    "eval-bias-bench": subsets_of_pairs.EVAL_BIAS_BENCH,
    "m-reward-bench": m_reward_bench.BENCHMARK,
    "process-bench": process_bench.BENCHMARK,
}


def run_benchmark(
    name: str, scorer: Any, source: str | Path, *, how: Resampling | None = None, split: str | None = None
) -> BenchmarkResult:
    """Score a benchmark from a local file or folder in the published layout, or from a hub id.

    Raises:
        ConfigError: no such benchmark; the message names the nearest.
        DataError: a row is not in the published layout.
    """
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(BENCHMARKS)}"
        raise ConfigError(f"no benchmark {name!r}; {hint}")
    benchmark = BENCHMARKS[name]
    rows = rows_of(source, split or benchmark.split)
    groups = [group for where, row in rows for group in benchmark.read(where, row)]
    if not groups:
        raise DataError(f"{source}: no rows")
    judge = as_scorer(scorer)
    scored = score_groups(judge, groups)
    score, parts = benchmark.summarise(scored, how or Resampling())
    return BenchmarkResult(name, judge.name, score, parts, scored)


def write_reward_bench_files(result: BenchmarkResult, folder: str | Path) -> list[Path]:
    """Write `eval-set/<model>.json` and `eval-set-scores/<model>.json` as RewardBench does, to be submitted.

    Raises:
        ConfigError: the benchmark is not RewardBench 1 or 2.
    """
    layouts = {"reward-bench": reward_bench, "reward-bench-legacy": reward_bench, "reward-bench-2": reward_bench_2}
    if result.benchmark not in layouts:
        raise ConfigError(f"{result.benchmark} has no RewardBench files; only {', '.join(layouts)} have")
    layout: Any = layouts[result.benchmark]
    # A model's name may be a path or an address; only "owner/model" is kept.
    name = "/".join([part for part in re.split(r"[/\\:]+", result.scorer) if part.strip(".")][-2:])
    written = []
    contents = {"eval-set": layout.eval_set_file(result), "eval-set-scores": layout.scores_file(result)}
    for kind, content in contents.items():
        path = Path(folder) / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        written.append(path)
    return written
