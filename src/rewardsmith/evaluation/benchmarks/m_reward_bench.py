"""M-RewardBench (Gureja et al. 2024, arXiv 2410.15522): RewardBench's pairs in 23 languages.

Rows `id, language, prompt, chosen, rejected, source` (RewardBench's subset; the translation task calls it `subset`),
one folder a language, split `test`. Each language is scored as RewardBench: the mean of its sections. The score is the
mean over languages without English, as in the authors' leaderboard. Rows of the translation task belong to no section;
their accuracy is a part and not in the score. Where English rows with the same `id` are there (the published folder
holds RewardBench's own as `eng_Latn/filtered.json`), their score is a part, and so is, for each language, Cohen's kappa
between the decisions in it and in English: above chance, does the model prefer the same answer whatever the language?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from rewardsmith.evaluation.benchmarks import reward_bench
from rewardsmith.evaluation.benchmarks.result import Benchmark, by, mean_of, pair_accuracy
from rewardsmith.evaluation.benchmarks.rows import FILE, need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.agreement import cohen_kappa
from rewardsmith.stats.intervals import Resampling

ENGLISH = ("eng_Latn", "en", "eng")
KNOWN = {name for counts in reward_bench.SECTIONS.values() for name in counts}


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row; a language that the row does not name is that of its folder."""
    folder = PurePosixPath(str(row.get(FILE, ""))).parent.name
    language = need(where, {"folder": folder or None, **row}, "language", "target_language", "folder")
    for group in reward_bench.read(where, {**row, "subset": need(where, row, "subset", "source")}):
        yield replace(group, metadata={**group.metadata, "language": language})


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the languages but English, each language, the translation task, the agreement with English."""
    in_sections = [item for item in scored if item.group.metadata["subset"] in KNOWN]
    others = [item for item in scored if item.group.metadata["subset"] not in KNOWN]
    languages = by(in_sections, "language")
    parts = {name: reward_bench.summarise(items, how)[0] for name, items in sorted(languages.items())}
    foreign = {name: part for name, part in parts.items() if name not in ENGLISH}
    extra = {name: pair_accuracy(items, how) for name, items in sorted(by(others, "subset").items())}
    english = next((languages[name] for name in ENGLISH if name in languages), [])
    for name, items in sorted(languages.items()):
        if english and name not in ENGLISH:
            extra[f"kappa with English: {name}"] = agreement(items, english)
    return mean_of(foreign or parts), {**parts, **extra}


def agreement(items: Sequence[ScoredGroup], others: Sequence[ScoredGroup]) -> Estimate:
    """Give Cohen's kappa of the decisions on pairs with the same subset and id; NaN where neither side varies."""
    decisions = {_key(item): item.rewards[0] > item.rewards[1] for item in others}
    return cohen_kappa(
        [(item.rewards[0] > item.rewards[1], decisions[_key(item)]) for item in items if _key(item) in decisions]
    )


def _key(item: ScoredGroup) -> tuple[str, str]:
    return str(item.group.metadata["subset"]), str(item.group.metadata["id"])


BENCHMARK = Benchmark(read, summarise, beside=(r"(^|/)eng_Latn/filtered\.json$",))
