"""PPE's human preferences (Frick et al. 2024, arXiv 2410.14872), `lmarena-ai/PPE-Human-Preference-V1`, split `test`.

Rows `prompt, response_1, response_2, winner` ("model_a", "model_b", "tie", "tie (bothbad)"), `model_a, model_b,
language, hard_prompt, easy_prompt, if_prompt, is_code, math_prompt, length_a, length_b`. The score is strict accuracy,
judged ties left out. Parts are the accuracy by language and by the authors' categories, and how well the rewards rank
the models that wrote the answers, for which ties are half a win (see `stats.rankings`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import IN_PUBLISHED_ORDER, Benchmark, by, labelled, pair_accuracy
from rewardsmith.evaluation.benchmarks.rows import need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling
from rewardsmith.stats.rankings import Battle, ranking_parts

WINNERS = {"model_a": 0, "model_b": 1}
FLAGS = ("hard_prompt", "easy_prompt", "if_prompt", "is_code", "math_prompt")
CATEGORIES = (*FLAGS, "shorter_won", "non_english_prompt")


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one human judgement. Raises DataError for a winner that is neither of the two nor a tie."""
    pair = (need(where, row, "response_1"), need(where, row, "response_2"))
    vote = str(need(where, row, "winner"))
    if vote not in WINNERS and not vote.startswith("tie"):
        raise DataError(f"{where}: winner must be 'model_a', 'model_b' or 'tie...', not {vote!r}")
    winner = WINNERS.get(vote)
    metadata = {"language": row.get("language"), "categories": _categories(row, winner)}
    metadata |= {"models": (row.get("model_a"), row.get("model_b")), "people": 0.5 if winner is None else 1.0 - winner}
    yield labelled(where, need(where, row, "prompt"), pair, winner, **metadata)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts are languages, categories, and the ranking of models where all rows name theirs."""
    parts = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "language").items())}
    for category in CATEGORIES:
        items = [item for item in scored if category in item.group.metadata["categories"]]
        if items:
            parts[category] = pair_accuracy(items, how)
    battles = [_battle(item) for item in scored]
    if all(battle.first and battle.second for battle in battles):
        parts |= ranking_parts(battles, how.seed)
    return pair_accuracy(scored, how), parts


def _categories(row: Mapping[str, Any], winner: int | None) -> tuple[str, ...]:
    found = [flag for flag in FLAGS if row.get(flag)]
    lengths = [float(length) for name in ("length_a", "length_b") if (length := row.get(name)) is not None]
    if winner is not None and len(lengths) == 2 and lengths[winner] < lengths[1 - winner]:
        found.append("shorter_won")
    if row.get("language") not in (None, "English"):
        found.append("non_english_prompt")
    return tuple(found)


def _battle(item: ScoredGroup) -> Battle:
    first, second = item.group.metadata["models"]
    margin = item.rewards[0] - item.rewards[1]
    rewards = 0.5 if margin == 0 else float(margin > 0)
    return Battle(str(first or ""), str(second or ""), item.group.metadata["people"], rewards)


BENCHMARK = Benchmark(read, summarise, rules=IN_PUBLISHED_ORDER)
