"""What a number must beat: rules that read no meaning, on the same rows, and the ceiling that raters' noise sets.

The order of completions is no baseline here: in pair data the chosen answer often stands first by layout. One baseline
needs the scorer itself, every answer without its prompt: what it gets right, it gets right without reading what was
asked, by style, length, or by remembering answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewardsmith.errors import RewardsmithError
from rewardsmith.evaluation.judged import ScoredGroup, completion_length, plain_text
from rewardsmith.evaluation.metrics import prompt_clusters
from rewardsmith.records import Estimate, Message, PreferenceGroup, TokenIds, preferences, text_key
from rewardsmith.stats.agreement import pair_agreement, raters_ceiling, without_copies
from rewardsmith.stats.intervals import Floats, clustered_share

MARKDOWN = re.compile(r"\*\*|^#{1,6} |^\s*[-*+] |^\s*\d+\. |```|^\|", re.MULTILINE)
PROMPT_BLIND = "prompt_blind"
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


def count_votes(groups: Sequence[PreferenceGroup]) -> tuple[Floats, list[int]]:
    """Return the votes for either side of each pair with two or more certain judgements, and its group's number.

    A rater who repeats a judgement counts once; ties, soft labels and weight 0 are no votes. For rows that name no
    rater see `without_copies`. Shapes: votes [P, 2].
    """
    votes: list[tuple[int, int]] = []
    named: list[bool] = []
    numbers: list[int] = []
    for number, group in enumerate(groups):
        pairs: dict[tuple[int, int], list[int]] = {}
        with_name: set[tuple[int, int]] = set()
        seen: set[tuple[str, int, int]] = set()
        for judgement in preferences(group):
            who = judgement.comparison.annotator
            if judgement.is_soft or (who is not None and (who, judgement.better, judgement.worse) in seen):
                continue
            pair = (min(judgement.better, judgement.worse), max(judgement.better, judgement.worse))
            pairs.setdefault(pair, [0, 0])[judgement.better == pair[1]] += 1
            if who is not None:
                seen.add((who, judgement.better, judgement.worse))
                with_name.add(pair)
        for pair, (first, second) in pairs.items():
            if first + second > 1:
                votes.append((first, second))
                named.append(pair in with_name)
                numbers.append(number)
    return without_copies(np.array(votes, dtype=np.float64).reshape(-1, 2), named), numbers


def noise_ceiling(scored: Sequence[ScoredGroup]) -> Estimate:
    """Return the highest accuracy that the raters' noise allows; NaN where each pair has one certain judgement.

    From how often two raters of a pair agree, see `stats.agreement.raters_ceiling` for its assumption. Without such
    pairs it is the mean share of the majority over soft labels: how many votes they hold is not known.
    """
    groups = [item.group for item in scored]
    clusters = np.array(prompt_clusters(scored))
    votes, numbers = count_votes(groups)
    agreement = pair_agreement(votes, clusters[numbers] if numbers else [])
    if agreement.n:
        return raters_ceiling(agreement)
    soft = [(j.probability, c) for g, c in zip(groups, clusters, strict=True) for j in preferences(g) if j.is_soft]
    return clustered_share([share for share, _ in soft], [cluster for _, cluster in soft])


@dataclass(frozen=True, slots=True)
class BlindScores:
    """Groups scored without their prompts, by the baseline's name; empty, with a note, where that cannot be done."""

    scored: dict[str, list[ScoredGroup]]
    note: str | None = None


def without_prompts(
    score: Callable[[Sequence[PreferenceGroup]], list[ScoredGroup]], groups: Sequence[PreferenceGroup]
) -> BlindScores:
    """Score every answer without its prompt; the groups that come back hold their prompts again.

    A conversation keeps one empty turn of the user, as many chat templates refuse an answer that nobody asked for.

    Args:
        score: scores groups.
    """
    if not any(group.prompt for group in groups):
        return BlindScores(
            {PROMPT_BLIND: []}, f"{PROMPT_BLIND}: no group has a prompt of its own, so none can be left out"
        )
    if any(isinstance(completion, TokenIds) for group in groups for completion in group.completions):
        return BlindScores({PROMPT_BLIND: []}, f"{PROMPT_BLIND}: token ids hold the prompt, so it cannot be left out")
    try:
        scored = score([replace(group, prompt=_nothing(group)) for group in groups])
    except RewardsmithError as error:
        return BlindScores({PROMPT_BLIND: []}, f"{PROMPT_BLIND}: cannot be scored: {error}")
    return BlindScores({PROMPT_BLIND: [ScoredGroup(g, item.rewards) for g, item in zip(groups, scored, strict=True)]})


def _nothing(group: PreferenceGroup) -> str | tuple[Message, ...]:
    is_plain = isinstance(group.prompt, str) and all(isinstance(completion, str) for completion in group.completions)
    return "" if is_plain else (Message("user", ""),)
