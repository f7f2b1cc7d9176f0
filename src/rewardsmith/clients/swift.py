"""ms-swift: a reward class for `--external_plugins` (`orms`), also callable as a reward-model plugin.

In a plugin file of yours:
    from swift.rewards import orms
    from rewardsmith.clients.swift import SwiftReward
    orms["rewardsmith"] = SwiftReward
and then `--reward_funcs rewardsmith`. ms-swift makes the class itself, so the server stands in $REWARDSMITH_URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.clients.client import as_scorer, score_samples
from rewardsmith.errors import DataError
from rewardsmith.records import Scorer


class SwiftReward:
    """Give rewards of ms-swift's samples, whose last message is the answer.

    Args:
        args: what ms-swift passes; not read.
        source: the server's address or a scorer; None reads $REWARDSMITH_URL.
    """

    def __init__(self, *args: object, source: str | Scorer | None = None, **kwargs: object) -> None:
        self._scorer = as_scorer(source)

    def __call__(
        self,
        completions: Sequence[str] | None = None,
        *,
        messages: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        inputs: Sequence[Mapping[str, Any]] | None = None,
        **columns: object,
    ) -> list[float]:
        """Score `messages` (reward function) or `inputs[i]["messages"]` (plugin). Raises DataError, ScoringError."""
        conversations = [sample["messages"] for sample in inputs] if messages is None and inputs else messages
        if conversations is None or not all(conversations):
            raise DataError("ms-swift gave no messages; the data set needs the column 'messages'")
        prompts = [[dict(message) for message in conversation[:-1]] for conversation in conversations]
        answers = [[dict(conversation[-1])] for conversation in conversations]
        return score_samples(self._scorer, prompts, answers)
