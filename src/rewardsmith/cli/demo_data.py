"""The data of the demo: short simulated answers whose gold reward is known, judged by five noisy annotators."""

from __future__ import annotations

from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.records import PreferenceGroup

ANNOTATORS = AnnotatorConfig(raters=1, pool=5, temperature=0.7, tie_threshold=0.4)
MAX_SENTENCES = 6


def demo_groups(num_train: int, num_held_out: int, seed: int) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """Give training and held-out groups of 2 to 6 answers; one simulation cut in two, so no prompt is in both."""
    total = num_train + num_held_out
    config = SimulationConfig(prompts=total, sentences=(1, MAX_SENTENCES), seed=seed, annotators=ANNOTATORS)
    groups = list(simulate(config))
    return groups[:num_train], groups[num_train:]
