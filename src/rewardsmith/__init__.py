"""Rewardsmith: reward modelling of large language models, from human judgements to a reward that can be trusted.

The public names load on first use, so that `import rewardsmith`, `--help` and the data tools never import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rewardsmith._version import __version__

if TYPE_CHECKING:
    from rewardsmith.data import load_preferences
    from rewardsmith.evaluation import evaluate
    from rewardsmith.records import Comparison, Estimate, Message, PreferenceGroup
    from rewardsmith.scoring import RewardModel
    from rewardsmith.training import RewardConfig, RewardTrainer

_HOMES = {
    "Comparison": "rewardsmith.records",
    "Estimate": "rewardsmith.records",
    "Message": "rewardsmith.records",
    "PreferenceGroup": "rewardsmith.records",
    "RewardConfig": "rewardsmith.training",
    "RewardModel": "rewardsmith.scoring",
    "RewardTrainer": "rewardsmith.training",
    "evaluate": "rewardsmith.evaluation",
    "load_preferences": "rewardsmith.data",
}

__all__ = [
    "Comparison",
    "Estimate",
    "Message",
    "PreferenceGroup",
    "RewardConfig",
    "RewardModel",
    "RewardTrainer",
    "__version__",
    "evaluate",
    "load_preferences",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rewardsmith' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
