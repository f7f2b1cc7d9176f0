"""Preferences from a known gold reward: for the demo, for tests of training, and for tests of audits."""

from rewardsmith.data.simulate.gold import BiasedScorer, GoldScorer, sample_answers, simulated_scorer, write_prompt
from rewardsmith.data.simulate.simulation import (
    AnnotatorConfig,
    SimulationConfig,
    demo_groups,
    iter_simulated,
    sample_groups,
    simulate,
)

__all__ = [
    "AnnotatorConfig",
    "BiasedScorer",
    "GoldScorer",
    "SimulationConfig",
    "demo_groups",
    "iter_simulated",
    "sample_answers",
    "sample_groups",
    "simulate",
    "simulated_scorer",
    "write_prompt",
]
