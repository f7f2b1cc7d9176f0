"""Rewardsmith: reward modelling of large language models, from human judgements to a reward that can be trusted.

The public names load on first use, so that `import rewardsmith`, `--help` and the data tools never import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rewardsmith._version import __version__

if TYPE_CHECKING:
    from rewardsmith.data import load_preferences
    from rewardsmith.data.checks.checking import check
    from rewardsmith.data.splitting import split
    from rewardsmith.doctor.examining import doctor, inspect
    from rewardsmith.records import Comparison, Estimate, Message, PreferenceGroup
    from rewardsmith.report.training import train
    from rewardsmith.report.twins import compare, evaluate, export, rank, score_file
    from rewardsmith.rl.ppo import PPOConfig, PPOTrainer
    from rewardsmith.scoring import RewardModel
    from rewardsmith.training import RewardConfig, RewardTrainer
    from rewardsmith.training.planning import plan
    from rewardsmith.training.steps.trainer import PRMConfig, PRMTrainer

_HOMES = {
    "Comparison": "rewardsmith.records",
    "Estimate": "rewardsmith.records",
    "Message": "rewardsmith.records",
    "PPOConfig": "rewardsmith.rl.ppo",
    "PPOTrainer": "rewardsmith.rl.ppo",
    "PRMConfig": "rewardsmith.training.steps.trainer",
    "PRMTrainer": "rewardsmith.training.steps.trainer",
    "PreferenceGroup": "rewardsmith.records",
    "RewardConfig": "rewardsmith.training",
    "RewardModel": "rewardsmith.scoring",
    "RewardTrainer": "rewardsmith.training",
    "audit": "rewardsmith.audit",
    "check": "rewardsmith.data.checks.checking",
    "compare": "rewardsmith.report.twins",
    "doctor": "rewardsmith.doctor",
    "evaluate": "rewardsmith.report.twins",
    "export": "rewardsmith.report.twins",
    "inspect": "rewardsmith.doctor.examining",
    "load_preferences": "rewardsmith.data",
    "plan": "rewardsmith.training.planning",
    "rank": "rewardsmith.report.twins",
    "score_file": "rewardsmith.report.twins",
    "split": "rewardsmith.data.splitting",
    "train": "rewardsmith.report.training",
}

__all__ = [
    "Comparison",
    "Estimate",
    "Message",
    "PPOConfig",
    "PPOTrainer",
    "PRMConfig",
    "PRMTrainer",
    "PreferenceGroup",
    "RewardConfig",
    "RewardModel",
    "RewardTrainer",
    "__version__",
    "audit",
    "check",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "load_preferences",
    "plan",
    "rank",
    "score_file",
    "split",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rewardsmith' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # A package of that name can itself be called: once it is imported, the name means it.
    return home if home.__name__ == f"rewardsmith.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return __all__
