"""PandaLM's test set (Wang et al. 2023, arXiv 2306.05087), `testset-v1.json`: three annotators a pair.

The label is the majority of `annotator1..3` (0 tie, 1, 2); three different votes are a tie. A scalar reward hardly
ever ties, so the score is strict accuracy over pairs whose majority prefers a side; the share of ties is a part. So is
the ceiling: how often one annotator agrees with the majority on those pairs. The authors' own figure for judges, the
accuracy over the three verdicts of all pairs, is a part; it takes `annotator1` where all three differ. Some responses
are JSON booleans and are read as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.evaluation.benchmarks.result import (
    IN_PUBLISHED_ORDER,
    Benchmark,
    labelled,
    pair_accuracy,
    three_way_accuracy,
)
from rewardsmith.evaluation.benchmarks.rows import need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Resampling, bootstrap_mean


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    votes = Counter(int(need(where, row, f"annotator{k}")) for k in (1, 2, 3))
    label, count = votes.most_common(1)[0]
    winner = label - 1 if label in (1, 2) and count >= 2 else None
    pair = (str(need(where, row, "response1")), str(need(where, row, "response2")))
    prompt = "\n".join(filter(None, (need(where, row, "instruction"), row.get("input"))))
    share = None if winner is None else count / votes.total()
    # As a verdict: 1 the first, -1 the second, 0 a tie. The first vote is the most common where all differ.
    verdict = {1: 1, 2: -1}.get(label, 0)
    yield labelled(where, prompt, pair, winner, majority_share=share, verdict=verdict)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts are the share of judged ties, which are left out, and the annotators' ceiling."""
    ties = sum(item.group.num_ties for item in scored)
    shares = [share for item in scored if (share := item.group.metadata["majority_share"]) is not None]
    ceiling = bootstrap_mean(shares, None, how.resamples, how.seed)
    return pair_accuracy(scored, how), {
        "judged ties": Estimate(ties / len(scored), len(scored)),
        "three-way accuracy": three_way_accuracy(scored, [item.group.metadata["verdict"] for item in scored], how),
        "ceiling: an annotator agrees with the majority": ceiling,
    }


BENCHMARK = Benchmark(read, summarise, patterns=(r"(^|/)testset-v1\.json$",), rules=IN_PUBLISHED_ORDER)
