"""`rewardsmith audit --train-data`: what the model was trained on, for contamination and accuracy by novelty."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.audit.contamination import UnknownTrainingData, audit_contamination
from rewardsmith.audit.shift import accuracy_by_novelty, measure_novelty
from rewardsmith.cli.audit_data import load_data
from rewardsmith.data.training_record import FILE_NAME, read_training_record
from rewardsmith.evaluation import Resampling, ScoredGroup
from rewardsmith.records import PreferenceGroup

Part = Callable[[Sequence[ScoredGroup]], Any]


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add --train-data."""
    parser.add_argument(
        "--train-data",
        action="append",
        default=[],
        metavar="PATH[:READER]",
        help="what the model was trained on: contamination, and accuracy by novelty. Without it contamination is "
        f"looked for in the hashes that a model trained here carries ({FILE_NAME})",
    )


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Groups that the models were trained on; none where it is not said."""

    groups: Sequence[PreferenceGroup]

    def parts(self, model: str, how: Resampling) -> Mapping[str, Part]:
        """Give the parts of an audit that need no further answers, to be handed to `audit(..., extra=...)`."""
        parts: dict[str, Part] = {}
        if self.groups:
            parts["contamination"] = lambda scored: audit_contamination(scored, self.groups, how)
            parts["shift"] = lambda scored: self.novelty(scored, how)
        elif Path(model).is_dir():
            parts["contamination"] = lambda scored: _by_record(model, scored, how)
        return parts

    def novelty(self, scored: Sequence[ScoredGroup], how: Resampling) -> Any:
        """Give accuracy by novelty against this training data."""
        return accuracy_by_novelty(scored, measure_novelty(self.groups, [item.group for item in scored]), how)

    def __iter__(self) -> Iterator[PreferenceGroup]:
        return iter(self.groups)


def load_training_data(args: argparse.Namespace) -> TrainingData:
    """Load what --train-data names."""
    options = {"split": args.split, "limit": None, "on_error": "count"}
    return TrainingData(load_data(args.train_data, None, options).groups if args.train_data else [])


def _by_record(model: str, scored: Sequence[ScoredGroup], how: Resampling) -> Any:
    record = read_training_record(model)
    if record is None:
        return UnknownTrainingData(f"{model} carries no {FILE_NAME}")
    return audit_contamination(scored, record, how)
