"""Run a benchmark by name."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.data.texts import as_plain_turns
from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation.benchmarks import ppe, process_bench, reward_bench, several_answers, strict_pairs
from rewardsmith.evaluation.benchmarks.result import Benchmark, BenchmarkResult
from rewardsmith.evaluation.judged import ScoredGroup, rescore, score_groups, score_what_can_be
from rewardsmith.evaluation.scorers import FileScorer, FunctionScorer, as_scorer
from rewardsmith.evaluation.verdict import without_prompts
from rewardsmith.records import Estimate, Message, PreferenceGroup, Scorer
from rewardsmith.stats.intervals import Resampling

NOTHING = Estimate(math.nan, 0)
BENCHMARKS: dict[str, Benchmark] = {
    "reward-bench": reward_bench.BENCHMARK,
    "reward-bench-legacy": reward_bench.LEGACY,
    "reward-bench-2": reward_bench.REWARD_BENCH_2,
    "rm-bench": several_answers.RM_BENCH,
    "judge-bench": strict_pairs.JUDGE_BENCH,
    "rmb": several_answers.RMB,
    "ppe-human": ppe.HUMAN,
    "ppe-correctness": ppe.CORRECTNESS,
    "llmbar": strict_pairs.LLMBAR,
    "faireval": strict_pairs.FAIR_EVAL,
    "pandalm": strict_pairs.PANDALM,
    "auto-j": strict_pairs.AUTO_J,
    "hhh": strict_pairs.HHH,
    "eval-bias-bench": strict_pairs.EVAL_BIAS_BENCH,
    "m-reward-bench": reward_bench.M_REWARD_BENCH,
    "process-bench": process_bench.BENCHMARK,
}


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """How a benchmark is run.

    Args:
        how: number of bootstrap samples and seed.
        split: of the hub data set or folder; None takes the authors'.
        chat: ask for prompt and answer as turns of a conversation, which the scorer's chat template renders, as the
            authors' code does. None asks so wherever the scorer is a model with a chat template, or a server.
        prompt_blind: also score every answer without its prompt, as a baseline. It costs a second pass.
        leave_out: leave out and count what the scorer cannot score, such as answers longer than it reads. The score
            is then not the published one's equal.
        limit: only so many of the first rows, to try things; None for all.
    """

    how: Resampling = field(default_factory=Resampling)
    split: str | None = None
    chat: bool | None = None
    prompt_blind: bool = False
    leave_out: bool = False
    limit: int | None = None


def run_benchmark(
    name: str, scorer: object, source: str | Path, *, how: Resampling | None = None, run: BenchmarkRun | None = None
) -> BenchmarkResult:
    """Score a benchmark from a local file or folder in the published layout, or from a hub id.

    Args:
        how: short for a `run` with nothing but this resampling.

    Raises:
        ConfigError: no such benchmark; the message names the nearest.
        DataError: a row is not in the published layout.
    """
    run = run or BenchmarkRun(how or Resampling())
    benchmark = find_benchmark(name)
    groups = [
        group
        for where, row in islice(benchmark.rows(source, run.split), run.limit)
        for group in benchmark.read(where, row)
    ]
    if not groups:
        raise DataError(f"{source}: no rows")
    judge = as_scorer(scorer)
    scored = benchmark.score_own(judge, groups) if benchmark.score_own else None
    left_out: dict[str, int] = {}
    if scored is None:
        scored, left_out = score_as_asked(judge, groups, run.chat, leave_out=run.leave_out)
        groups = [item.group for item in scored]
    if not scored:
        raise ScoringError(f"{judge.name} could score nothing of {source}: {', '.join(left_out)}")
    others = {rule: rescore(scored, function) for rule, function in benchmark.rules.items()}
    if run.prompt_blind and benchmark.score_own is None:
        others |= without_prompts(lambda blind: score_as_asked(judge, blind, run.chat)[0], groups).scored
    baselines = {rule: benchmark.summarise(items, run.how)[0] if items else NOTHING for rule, items in others.items()}
    score, parts = benchmark.summarise(scored, run.how)
    return BenchmarkResult(name, judge.name, score, parts, scored, baselines, left_out)


def find_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ConfigError with the nearest name."""
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(BENCHMARKS)}"
        raise ConfigError(f"no benchmark {name!r}; {hint}")
    return BENCHMARKS[name]


def score_as_asked(
    scorer: Scorer, groups: Sequence[PreferenceGroup], chat: bool | None, *, leave_out: bool = False
) -> tuple[list[ScoredGroup], dict[str, int]]:
    """Score groups of plain texts, as turns of a conversation where `chat` says so (None: where the scorer can).

    Returns:
        The scored groups with the texts as they were, and what was left out by reason.
    """
    asked = list(groups)
    if _reads_chat(scorer) if chat is None else chat:
        asked = [replace(group, prompt=_turns("user", group.prompt), completions=_answers(group)) for group in groups]
    elif not isinstance(scorer, FileScorer | FunctionScorer):
        # Some sets ask in several turns; a model without a template reads them written out.
        asked = as_plain_turns(groups)[0]
    if not leave_out:
        scored = score_groups(scorer, asked)
        return [ScoredGroup(group, item.rewards) for group, item in zip(groups, scored, strict=True)], {}
    scored, left_out, lost = score_what_can_be(scorer, asked)
    missing = {id(group) for group in lost}
    kept = [group for group, question in zip(groups, asked, strict=True) if id(question) not in missing]
    return [ScoredGroup(group, item.rewards) for group, item in zip(kept, scored, strict=True)], left_out


def _reads_chat(scorer: Scorer) -> bool:
    """Whether turns are what a scorer expects: models with a template and servers; files and functions take texts."""
    if isinstance(scorer, FileScorer | FunctionScorer):
        return False
    tokenizer = getattr(scorer, "tokenizer", None)
    return tokenizer is None or bool(tokenizer.chat_template)


def _turns(role: str, value: object) -> Any:
    return (Message(role, value),) if isinstance(value, str) else value


def _answers(group: PreferenceGroup) -> tuple[Any, ...]:
    return tuple(_turns("assistant", completion) for completion in group.completions)


def write_reward_bench_files(result: BenchmarkResult, folder: str | Path) -> list[Path]:
    """Write `eval-set/<model>.json` and `eval-set-scores/<model>.json` as RewardBench does, to be submitted.

    Raises:
        ConfigError: the benchmark is not RewardBench 1 or 2.
    """
    first = (reward_bench.eval_set_file, reward_bench.scores_file)
    second = (reward_bench.eval_set_file_2, reward_bench.scores_file_2)
    layouts = {"reward-bench": first, "reward-bench-legacy": first, "reward-bench-2": second}
    if result.benchmark not in layouts:
        raise ConfigError(f"{result.benchmark} has no RewardBench files; only {', '.join(layouts)} have")
    eval_set_file, scores_file = layouts[result.benchmark]
    # A model's name may be a path or an address; only "owner/model" is kept.
    name = "/".join([part for part in re.split(r"[/\\:]+", result.scorer) if part.strip(".")][-2:])
    written = []
    contents = {"eval-set": eval_set_file(result), "eval-set-scores": scores_file(result)}
    for kind, content in contents.items():
        path = Path(folder) / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        written.append(path)
    return written
