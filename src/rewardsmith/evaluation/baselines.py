"""What a number must beat: rules that read no meaning, on the same rows, and the ceiling that raters' noise sets.

The order of completions is no baseline here: in pair data the chosen answer often stands first by layout.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

from rewardsmith.evaluation.judged import ScoredGroup, completion_length, plain_text
from rewardsmith.evaluation.metrics import prompt_clusters
from rewardsmith.records import Estimate, PreferenceGroup, text_key
from rewardsmith.stats.intervals import bootstrap_mean

MARKDOWN = re.compile(r"\*\*|^#{1,6} |^\s*[-*+] |^\s*\d+\. |```|^\|", re.MULTILINE)
Rule = Callable[[PreferenceGroup], Sequence[float]]


def longest(group: PreferenceGroup) -> list[float]:
    """Reward length in characters."""
    return [float(completion_length(completion)) for completion in group.completions]


def shortest(group: PreferenceGroup) -> list[float]:
    """Reward brevity."""
    return [-length for length in longest(group)]


def most_markdown(group: PreferenceGroup) -> list[float]:
    """Reward the number of headings, list items, bold marks, code fences and table rows."""
    return [float(len(MARKDOWN.findall(plain_text(completion)))) for completion in group.completions]


def random_choice(group: PreferenceGroup) -> list[float]:
    """Reward a hash of prompt and completion: random, and the same in every run."""
    rewards = []
    for completion in group.completions:
        text = f"{text_key(group.prompt)}\x00{text_key(completion)}".encode("utf-8", "surrogatepass")
        rewards.append(int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2.0**48)
    return rewards


RULES: dict[str, Rule] = {
    "longest": longest,
    "shortest": shortest,
    "most_markdown": most_markdown,
    "random": random_choice,
}


def vote_shares(groups: Sequence[PreferenceGroup]) -> list[tuple[float, int]]:
    """Give (share of the majority, group number) of each pair with several raters or a soft label.

    Pairs without a majority in their soft label do not count, as they do not count for accuracy; nor does weight 0.
    A rater who repeats a judgement counts once. Where judgements name no rater and repeated ones never differ in all
    of `groups`, they are taken for copies of a row, not for raters who agree.
    """
    shares: list[tuple[float, int]] = []
    unnamed: list[tuple[float, int]] = []
    named: set[tuple[int, tuple[int, int]]] = set()
    for number, group in enumerate(groups):
        votes: dict[tuple[int, int], Counter[int]] = {}
        seen: set[tuple[str, int, int]] = set()
        for comparison in group.comparisons:
            if comparison.weight == 0 or comparison.probability == 0.5:
                continue
            if comparison.probability is not None:
                shares.append((max(comparison.probability, 1 - comparison.probability), number))
            elif not comparison.is_tie:
                pair = (min(comparison.better, comparison.worse), max(comparison.better, comparison.worse))
                if comparison.annotator is not None:
                    who = (comparison.annotator, comparison.better, comparison.worse)
                    if who in seen:
                        continue
                    seen.add(who)
                    named.add((number, pair))
                votes.setdefault(pair, Counter())[comparison.better] += 1
        counted = {pair: max(v.values()) / v.total() for pair, v in votes.items() if v.total() > 1}
        shares += [(share, number) for pair, share in counted.items() if (number, pair) in named]
        unnamed += [(share, number) for pair, share in counted.items() if (number, pair) not in named]
    are_raters = any(share < 1 for share, _ in unnamed)
    return sorted(shares + unnamed if are_raters else shares, key=lambda share: share[1])


def noise_ceiling(scored: Sequence[ScoredGroup], resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Give the accuracy of always following the majority of raters, E[max(p, 1 - p)]; NaN without several raters.

    It is biased upwards for few raters: with two, a pair that they happen to agree on counts as certain.
    """
    shares = vote_shares([item.group for item in scored])
    clusters = prompt_clusters(scored)
    return bootstrap_mean([share for share, _ in shares], [clusters[number] for _, number in shares], resamples, seed)
