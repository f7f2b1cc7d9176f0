"""Groups with their rewards, and what the labels of a group say about each pair of completions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rewardsmith.data import texts
from rewardsmith.errors import ScoringError, try_halves
from rewardsmith.records import (
    Completion,
    PreferenceGroup,
    Scorer,
    ScoreRequest,
    Text,
    TokenIds,
    judgements,
    prompt_key,
    text_key,
)

# Groups scored at once where single ones may fail.
CHUNK = 128


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group and one finite reward per completion, in order."""

    group: PreferenceGroup
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        name = self.group.group_id or "a group"
        if len(self.rewards) != len(self.group):
            raise ScoringError(f"{name}: {len(self.rewards)} rewards for {len(self.group)} completions")
        if not all(math.isfinite(reward) for reward in self.rewards):
            raise ScoringError(f"{name}: a reward is not finite: {self.rewards}; check the model's head and precision")


def score_groups(scorer: Scorer, groups: Sequence[PreferenceGroup]) -> list[ScoredGroup]:
    """Score every completion of `groups`. Raises ScoringError when rewards are missing or not finite."""
    rewards = scorer.score_requests([ScoreRequest.of_group(group) for group in groups])
    if len(rewards) != len(groups):
        raise ScoringError(f"{scorer.name} gave {len(rewards)} lists of rewards for {len(groups)} requests")
    return [ScoredGroup(group, tuple(map(float, row))) for group, row in zip(groups, rewards, strict=True)]


def score_what_can_be(
    scorer: Scorer, groups: Sequence[PreferenceGroup]
) -> tuple[list[ScoredGroup], dict[str, int], list[PreferenceGroup]]:
    """Score groups and leave out those that cannot be scored, such as answers longer than the model reads.

    They are scored in chunks; halves of a chunk that fails are tried again, down to single groups. Models refuse before
    they compute, so that is cheap.

    Returns:
        The groups that are scored, the number left out by reason, and the groups left out.
    """
    scored: list[ScoredGroup] = []
    counts: Counter[str] = Counter()
    lost: list[PreferenceGroup] = []
    for start in range(0, len(groups), CHUNK):
        chunk = groups[start : start + CHUNK]
        results = try_halves(lambda part: score_groups(scorer, part), chunk, ScoringError)
        for group, result in zip(chunk, results, strict=True):
            if isinstance(result, ScoringError):
                counts[reason_of(result)] += 1
                lost.append(group)
            elif isinstance(result, ScoredGroup):
                scored.append(result)
    return scored, dict(counts), lost


def reason_of(error: ScoringError) -> str:
    """Give the reason under which a group is counted, the same for every group that fails in the same way."""
    text = str(error)
    if "tokens" in text and ("reads" in text or "exceeds" in text):
        return "longer than the model reads"
    return " ".join(text.split())[:80]


def rescore(scored: Sequence[ScoredGroup], rule: Callable[[PreferenceGroup], Sequence[float]]) -> list[ScoredGroup]:
    """Put the rewards of a rule, such as a null baseline, in place of those of the scorer."""
    return [ScoredGroup(item.group, tuple(map(float, rule(item.group)))) for item in scored]


def side_texts(group: PreferenceGroup, better: int, worse: int) -> tuple[str, str, str]:
    """Give prompt, better and worse as text to read; whole dialogues lose the turns that all completions share."""
    sides = [plain_text(group.completions[side]) or text_key(group.completions[side]) for side in (better, worse)]
    if group.prompt:
        return _dialogue(group.prompt), sides[0].lstrip("\x00"), sides[1].lstrip("\x00")
    shared = prompt_key(group)
    return shared, sides[0][len(shared) :].lstrip("\x00"), sides[1][len(shared) :].lstrip("\x00")


def _dialogue(prompt: Text) -> str:
    """Give a prompt as text, each turn under its role."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {plain_text((message,))}" for message in prompt)


def plain_text(completion: Completion) -> str:
    """Give the text of a completion: the contents of its messages, joined. Token ids have no text here."""
    if isinstance(completion, TokenIds):
        return ""
    return texts.plain_text(completion)


def completion_length(completion: Completion) -> int:
    """Give the length in characters, or in tokens where only token ids are known."""
    return len(completion) if isinstance(completion, TokenIds) else len(plain_text(completion))


def comparison_rows(scored: Iterable[ScoredGroup]) -> Iterator[dict[str, Any]]:
    """Yield one row for each judgement that counts: texts, rewards, whether they agree, source and lengths.

    `right` is 1 or 0, 0.5 where the rewards are equal, and None for a judged tie.
    """
    for number, item in enumerate(scored):
        group = item.group
        for judgement in judgements(group):
            better, worse = judgement.better, judgement.worse
            margin = item.rewards[better] - item.rewards[worse]
            prompt, *texts = side_texts(group, better, worse)
            yield {
                "group": number,
                "group_id": group.group_id,
                "source": group.source,
                "subset": group.metadata.get("subset"),
                "annotator": judgement.comparison.annotator,
                "label": "tie" if judgement.is_tie else "better",
                "label_probability": judgement.probability,
                "reward_better": item.rewards[better],
                "reward_worse": item.rewards[worse],
                "margin": margin,
                "right": None if judgement.is_tie else credit(margin),
                "length_better": completion_length(group.completions[better]),
                "length_worse": completion_length(group.completions[worse]),
                "prompt": prompt,
                "better": texts[0],
                "worse": texts[1],
            }


def credit(margin: float) -> float:
    """Return what a judgement adds to accuracy: 1 where the better answer has the higher reward, 1/2 for equal ones."""
    return 0.5 if margin == 0 else float(margin > 0)
