"""`rewardsmith collect order gap|uncertainty|fisher|random`: which items come first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.cli.options import SCORER_HELP, add_model_options, open_scorer
from rewardsmith.collecting.exporting import JudgedItem
from rewardsmith.collecting.ordering import Prediction, apply_order, open_items, order_values, rated_predictions
from rewardsmith.collecting.project import Order
from rewardsmith.errors import ConfigError
from rewardsmith.records import ScoreRequest, as_text


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("order", choices=get_args(Order))
    add_project_option(parser)
    parser.add_argument("--model", help=f"{SCORER_HELP}; fisher reads the features of its last layer")
    parser.add_argument("--rating", help="take the rewards from this rating of the imported rows instead")
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Order the items that have open seats."""
    collection = opened(args)
    items = open_items(collection.store)
    if args.order != "random" and (args.model is None) == (args.rating is None):
        raise ConfigError(f"{args.order} needs predictions: give either --model or --rating")
    if args.order == "random":
        predictions = [Prediction(np.zeros(len(item.completions))) for item in items]
    elif args.rating is not None:
        predictions = rated_predictions(items, args.rating)
    else:
        predictions = _predict(args, items)
    values = order_values(args.order, predictions)
    apply_order(collection.store, args.order, dict(zip((item.item_id for item in items), values, strict=True)))
    print(f"{len(items)} items in order {args.order}")
    return 0


def _predict(args: argparse.Namespace, items: Sequence[JudgedItem]) -> list[Prediction]:
    """Score every answer; for fisher, one at a time, so that features and answers cannot be mixed up."""
    scorer = open_scorer(args.model, args, args.ensemble)
    asked = [(as_text(item.prompt) if item.prompt else "", tuple(map(as_text, item.completions))) for item in items]
    if args.order != "fisher":
        rewards = scorer.score_requests([ScoreRequest(prompt, texts) for prompt, texts in asked])
        return [Prediction(np.array(row)) for row in rewards]
    found = []
    features: list[Any] = []
    handle = _head(scorer).register_forward_pre_hook(
        lambda _, inputs: features.append(inputs[0].detach().float().cpu())
    )
    try:
        for prompt, texts in asked:
            features.clear()
            row = [scorer.score_requests([ScoreRequest(prompt, (text,))])[0][0] for text in texts]
            rows = np.concatenate([part.numpy() for part in features]) if features else np.zeros((0, 0))
            if len(rows) != len(texts):
                raise ConfigError(f"{args.model} gives no features of one answer; use gap or uncertainty")
            found.append(Prediction(np.array(row), rows.astype(np.float64)))
    finally:
        handle.remove()
    return found


def _head(scorer: object) -> Any:
    """Return the linear head of a local reward model. Raises ConfigError."""
    model = getattr(scorer, "model", None)
    heads = (
        [part for name, part in model.named_modules() if name.split(".")[-1] == "score"] if model is not None else []
    )
    if not heads:
        raise ConfigError("fisher needs a local reward model with a linear head; use gap or uncertainty")
    return heads[0]
