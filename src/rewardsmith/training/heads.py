"""The heads that a run trains: one of the reward, several that are an ensemble, or a row for each rating."""

from __future__ import annotations

from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError
from rewardsmith.models import wide_head
from rewardsmith.models.attribute_head import install_attributes
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.rated import named_attributes


def install_heads_of_run(core: PreTrainedModel, args: RewardConfig, notes: list[str]) -> None:
    """Install what the settings ask for beside a plain head. Raises ConfigError for what does not go together."""
    _make_rated(core, args, notes)
    _make_ensemble(core, args, notes)


def _make_rated(core: PreTrainedModel, args: RewardConfig, notes: list[str]) -> None:
    """Give a model the head of the ratings that its run learns. Raises ConfigError for one with other ratings."""
    attributes = named_attributes(args)
    if not attributes:
        return
    names, labels = (
        [one.name for one in attributes],
        [str(label) for _, label in sorted((core.config.id2label or {}).items())],
    )
    is_named = not all(label.startswith("LABEL_") for label in labels)
    if len(labels) > 1 and len(labels) == len(names) and is_named and labels != names:
        raise ConfigError(
            f"the model gives the ratings {', '.join(labels)}, the run learns {', '.join(names)}: name the same in "
            "the same order, or start from its language model"
        )
    if install_attributes(core, attributes, args.head_init):
        notes.append(f"a head of {len(names)} ratings ({', '.join(names)}) was initialised ({args.head_init})")


def _make_ensemble(core: PreTrainedModel, args: RewardConfig, notes: list[str]) -> None:
    """Install the heads of an ensemble. Raises ConfigError for one of models, which this trainer is one member of."""
    if args.ensemble > 1 and args.ensemble_kind == "models":
        raise ConfigError(
            "RewardTrainer trains one model: rewardsmith.train(..., ensemble_kind='models') and `rewardsmith train` "
            "train several; or take ensemble_kind='heads'"
        )
    if args.ensemble > 1 and args.head != "linear":
        raise ConfigError("heads on one backbone are linear: leave head='mlp' out, or take ensemble_kind='models'")
    decays = args.weight_decay or (args.freeze_backbone and args.head_solver == "lbfgs")
    if (scale := args.ensemble_prior_scale) != 1 and (args.ensemble == 1 or decays or not scale > 0):
        raise ConfigError(
            "ensemble_prior_scale, above 0, is of several heads whose weights do not decay (weight_decay 0, no L-BFGS)"
        )
    if args.bootstrap_prompts and args.ensemble > 1:
        raise ConfigError("bootstrap_prompts draws one sample for all heads, which draw their own; leave it out")
    if args.ensemble == 1:
        args.ensemble = wide_head.num_heads(core)
    if args.ensemble > 1:
        wide_head.install_heads(core, args.ensemble, args.ensemble_prior_scale)
        notes.append(f"{args.ensemble} heads on one backbone; the reward is their mean")
