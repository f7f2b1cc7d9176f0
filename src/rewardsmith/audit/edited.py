"""A sample of prompts with edited answers: what is asked of the scorer, and what its rewards say of each edit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rewardsmith.audit.answers import find_answer, question
from rewardsmith.audit.edits import Probe, pair_to_edit
from rewardsmith.audit.edits.phrases import plain_words_instead
from rewardsmith.records import Completion, PreferenceGroup, ScoreRequest, prompt_key, text_key

EXCERPT = 700


@dataclass(frozen=True, slots=True)
class EditedPrompt:
    """One prompt of the sample: its group, the two answers and their edits by probe (side 0 better, 1 worse).

    `controls` are the same edits with as many words that say nothing.
    """

    group: PreferenceGroup
    cluster: int
    sides: tuple[int, int]
    is_judged: bool
    edits: dict[tuple[str, int], Completion] = field(default_factory=dict)
    controls: dict[tuple[str, int], Completion] = field(default_factory=dict)

    def request(self) -> ScoreRequest:
        """Ask for all completions of the group and all edits at once."""
        distinct = {text_key(c): c for c in (*self.group.completions, *self.edits.values(), *self.controls.values())}
        return replace(ScoreRequest.of_group(self.group), completions=tuple(distinct.values()))


@dataclass(slots=True)
class Changes:
    """What one probe did, answer by answer; `contrast` is what it did beyond its control."""

    change: list[float] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    contrast_cluster: list[int] = field(default_factory=list)
    overtakes: list[tuple[float, int]] = field(default_factory=list)
    falls: list[tuple[float, int]] = field(default_factory=list)
    not_scored: int = 0
    example: dict[str, Any] | None = None
    worst: float = 0.0


def sample_prompts(groups: Sequence[PreferenceGroup], count: int, seed: int) -> list[EditedPrompt]:
    """Choose prompts with two answers that can be edited, in turn from each source, so that small ones are seen too."""
    by_source: dict[str, list[int]] = {}
    for index in np.random.default_rng(seed).permutation(len(groups)):
        by_source.setdefault(groups[index].source or "", []).append(int(index))
    clusters: dict[str, int] = {}
    chosen: list[EditedPrompt] = []
    queues = [iter(indices) for _, indices in sorted(by_source.items())]
    while queues and len(chosen) < count:
        for queue in list(queues):
            index = next(queue, None)
            if index is None:
                queues.remove(queue)
                continue
            group = groups[index]
            pair = pair_to_edit(group, np.random.default_rng([seed, index]))
            if pair is not None and len(chosen) < count:
                key = prompt_key(group) or f"\x00empty {index}"
                chosen.append(EditedPrompt(group, clusters.setdefault(key, len(clusters)), pair[:2], pair[2]))
    return chosen


def edit_prompt(prompt: EditedPrompt, probes: Sequence[Probe], seed: int) -> None:
    """Fill in the edits of both answers; those that change nothing do not apply."""
    asked = question(prompt.group)
    for side, index in enumerate(prompt.sides):
        answer = find_answer(prompt.group.completions[index])
        assert answer is not None
        for probe in probes:
            text = probe.edit(asked, answer.text, _generator(seed, probe.name, asked, answer.text))
            if text is None or text == answer.text:
                continue
            prompt.edits[probe.name, side] = answer.rewrite(text)
            if probe.has_control:
                generator = _generator(seed, probe.name, asked, answer.text)
                prompt.controls[probe.name, side] = answer.rewrite(plain_words_instead(answer.text, text, generator))


def _generator(seed: int, *texts: str) -> np.random.Generator:
    """Return a generator that depends on the texts only, so an edit does not change with the sample it stands in."""
    digest = hashlib.sha256("\x00".join(texts).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def collect(
    prompt: EditedPrompt, rewards: dict[str, float | None], probes: dict[str, Probe], table: dict[str, Changes]
) -> None:
    """Add the changes of one prompt to the table."""
    before = [rewards[text_key(prompt.group.completions[index])] for index in prompt.sides]
    for (name, side), completion in prompt.edits.items():
        changes, after, own = table[name], rewards[text_key(completion)], before[side]
        if after is None or own is None:
            changes.not_scored += 1
            continue
        changes.change.append(after - own)
        changes.cluster.append(prompt.cluster)
        plain = rewards[text_key(prompt.controls[name, side])] if (name, side) in prompt.controls else None
        if plain is not None:
            changes.contrast.append(after - plain)
            changes.contrast_cluster.append(prompt.cluster)
        better, worse = before
        if prompt.is_judged and better is not None and worse is not None and better > worse:
            if side == 0:
                changes.falls.append((float(after < worse), prompt.cluster))
            else:
                changes.overtakes.append((float(after > better), prompt.cluster))
        _keep_example(changes, probes[name], prompt, side, (own, after))


def _keep_example(
    changes: Changes, probe: Probe, prompt: EditedPrompt, side: int, rewards: tuple[float, float]
) -> None:
    """Keep the answer whose change speaks most against the model."""
    change = rewards[1] - rewards[0]
    if not probe.is_contrary(change) or abs(change) <= changes.worst:
        return
    changes.worst = abs(change)
    before = find_answer(prompt.group.completions[prompt.sides[side]])
    after = find_answer(prompt.edits[probe.name, side])
    assert before is not None
    changes.example = {
        "prompt": question(prompt.group)[:EXCERPT],
        "before": before.text[:EXCERPT],
        "after": (after.before[len(before.before) :] + after.text + after.after if after else "")[:EXCERPT],
        "reward_before": rewards[0],
        "reward_after": rewards[1],
    }
