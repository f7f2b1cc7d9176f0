"""What a reward model predicts of answers that are to be ordered: their rewards, and the features of its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from rewardsmith.errors import ConfigError
from rewardsmith.records import Scorer, ScoreRequest
from rewardsmith.stats.ordering import Order, Prediction


def predict(scorer: Scorer, requests: Sequence[ScoreRequest], order: Order) -> list[Prediction]:
    """Return the prediction that an order asks for, one a request.

    For fisher every answer is scored alone, so that features and answers cannot be mixed up.

    Raises:
        ConfigError: fisher for a scorer that has no features.
    """
    if order != "fisher":
        return [Prediction(np.array(row)) for row in scorer.score_requests(requests)]
    found: list[Prediction] = []
    features: list[Tensor] = []
    handle = _head(scorer).register_forward_pre_hook(
        lambda _, inputs: features.append(inputs[0].detach().float().cpu())
    )
    try:
        for request in requests:
            features.clear()
            row = [_alone(scorer, request, place) for place in range(len(request.completions))]
            rows = np.concatenate([part.numpy() for part in features]) if features else np.zeros((0, 0))
            if len(rows) != len(row):
                raise ConfigError(f"{scorer.name} gives no features of one answer; use gap or uncertainty")
            found.append(Prediction(np.array(row), rows.astype(np.float64)))
    finally:
        handle.remove()
    return found


def _alone(scorer: Scorer, request: ScoreRequest, place: int) -> float:
    one = ScoreRequest(request.prompt, (request.completions[place],), request.tools, request.chat_template_kwargs)
    return float(scorer.score_requests([one])[0][0])


def _head(scorer: object) -> nn.Module:
    """Return the linear head of a local reward model. Raises ConfigError."""
    model: Any = getattr(scorer, "model", None)
    named = model.named_modules() if model is not None else ()
    head = next((part for name, part in named if name.split(".")[-1] == "score"), None)
    if head is None:
        raise ConfigError("fisher needs a local reward model with a linear head; use gap or uncertainty")
    return head
