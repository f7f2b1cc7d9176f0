"""RMB (Zhou et al. 2024, arXiv 2410.09893), the folders `Pairwise_set` and `BoN_set` as published.

A pair is right when the chosen answer scores strictly higher; a list only when the best answer beats every loser. The
score is the mean over {Helpfulness, Harmlessness} x {pairs, lists} that are present. Fields may be stringified.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import Benchmark, best_first, by, mean_of, need, strict_best
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read a pair or a list."""
    is_list = "bon_best" in row
    best = _literal(where, need(where, row, "bon_best", "chosen"))
    losers = (
        _literal(where, need(where, row, "loser_list")) if is_list else [_literal(where, need(where, row, "reject"))]
    )
    goal = str(row.get("category_path", "")).split("/")
    part = f"{goal[1] if len(goal) > 1 else 'all'} {'lists' if is_list else 'pairs'}"
    prompt = _literal(where, need(where, row, "conversation_input"))
    answers = [_answer(where, text) for text in (best, *losers)]
    yield best_first(where, prompt, answers, part=part, subset="/".join(goal[2:]))


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the parts that are present."""
    parts = {name: strict_best(items, how) for name, items in sorted(by(scored, "part").items())}
    return mean_of(parts), parts


def _literal(where: str, value: object) -> Any:
    """Read a stringified list or dictionary; leave other values."""
    if not (isinstance(value, str) and value[:1] in "[{"):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{where}: cannot read the stringified field {value[:60]!r}") from error


def _answer(where: str, value: object) -> str:
    value = _literal(where, value)
    return str(need(where, value, "answer")) if isinstance(value, Mapping) else str(value)


# A copy of the authors' repository also holds results of evaluation.
BENCHMARK = Benchmark(read, summarise, patterns=(r"(^|/)(BoN_set|Pairwise_set)/.+\.json$",))
