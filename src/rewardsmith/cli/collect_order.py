"""`rewardsmith collect order gap|uncertainty|fisher|random`: which items come first."""

from __future__ import annotations

import argparse
from typing import get_args

import numpy as np

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.cli.options import SCORER_HELP, add_model_options, open_scorer
from rewardsmith.collecting.ordering import apply_order, open_items, rated_predictions
from rewardsmith.errors import ConfigError
from rewardsmith.records import ScoreRequest, as_text
from rewardsmith.stats.ordering import Order, Prediction, order_values


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
        from rewardsmith.scoring.features import predict

        asked = [(as_text(item.prompt) if item.prompt else "", tuple(map(as_text, item.completions))) for item in items]
        scorer = open_scorer(args.model, args, args.ensemble)
        predictions = predict(scorer, [ScoreRequest(prompt, texts) for prompt, texts in asked], args.order)
    values = order_values(args.order, predictions)
    apply_order(collection.store, args.order, dict(zip((item.item_id for item in items), values, strict=True)))
    print(f"{len(items)} items in order {args.order}")
    return 0
