"""Answers of a policy with everything that the losses need: prompts, sampling, scores, advantages."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.records import Text, as_plain, as_text
from rewardsmith.rl.policy import Answer, Policy, ask, encode_prompt, room_for_prompts, say_too_long
from rewardsmith.rl.ppo import formulas
from rewardsmith.rl.ppo.config import PPOConfig
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.scoring.scorer import IdScorer


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as it is encoded for the policy, its text for the reward, and the row's other columns."""

    ids: tuple[int, ...]
    text: Text | None
    columns: Mapping[str, Any]


def read_prompts(rows: Sequence[Mapping[str, Any]], policy: Policy, num_tokens: int | None) -> tuple[list[Asked], int]:
    """Read rows with `prompt` (text or messages) or `input_ids`; also return how many were too long for the policy.

    Args:
        num_tokens: of an answer, for which a prompt has to leave room; None takes any prompt.

    Raises:
        DataError: a row has neither, or none is left.
        ConfigError: a conversation for a policy without chat template.
    """
    found: list[Asked] = []
    num_long = 0
    room = None if num_tokens is None else room_for_prompts(policy, num_tokens)
    for number, row in enumerate(rows):
        where, text = f"row {number}", None
        if row.get("prompt") is not None:
            text = ask(policy, as_text(row["prompt"], f"{where} prompt"))
            ids = encode_prompt(policy, text)
        elif row.get("input_ids") is not None:
            ids = [int(i) for i in row["input_ids"]]
        else:
            raise DataError(f"{where} has neither 'prompt' nor 'input_ids'; give prompts as text, messages or ids")
        if not ids:
            raise DataError(f"{where} has an empty prompt; an answer needs something to follow")
        if room is not None and len(ids) > room:
            num_long += 1
            continue
        others = {name: value for name, value in row.items() if name not in ("prompt", "input_ids", "attention_mask")}
        found.append(Asked(tuple(ids), text, others))
    if not rows:
        raise DataError("nothing to train on: there are no rows")
    say_too_long(num_long, len(rows), num_tokens or 0)
    return found, num_long


def prompts_of_step(num_prompts: int, step: int, batch_size: int, seed: int) -> list[int]:
    """Return which prompts a step asks: a fresh order of all of them for every pass, cut into batches."""
    first, last = step * batch_size, (step + 1) * batch_size
    passes = range(first // num_prompts, (last - 1) // num_prompts + 1)
    order = [p for n in passes for p in random.Random(f"{seed}/{n}").sample(range(num_prompts), num_prompts)]
    start = first - passes[0] * num_prompts
    return order[start : start + batch_size]


class TokenRewards:
    """Rewards of whole sequences of the policy's own token ids, read at the last token.

    Args:
        model: a sequence classifier with one label, or a scorer of token ids, of the policy's vocabulary.
    """

    def __init__(self, model: PreTrainedModel | IdScorer) -> None:
        self.model = model

    def score(self, asked: Sequence[Asked], answers: Sequence[Answer]) -> list[float | None]:
        """Return one reward an answer. Raises ScoringError for one that is not finite."""
        groups = [[[*prompt.ids, *answer.ids]] for prompt, answer in zip(asked, answers, strict=True)]
        rows = (
            self.model.score_encoded(groups)
            if isinstance(self.model, IdScorer)
            else compute_rewards(self.model, groups)
        )
        return [row[0] for row in rows]


class TextRewards:
    """Rewards of texts or messages by a reward function; vocabulary and template are the reward model's own."""

    def __init__(self, function: RewardFunction) -> None:
        self.function = function

    def score(self, asked: Sequence[Asked], answers: Sequence[Answer]) -> list[float | None]:
        """Return one reward an answer, None where nothing could score it. Raises as `RewardFunction.score` does."""
        if any(prompt.text is None for prompt in asked):
            raise ConfigError("rows hold input_ids without their text, which this reward needs; add a column 'prompt'")
        prompts = [as_plain(prompt.text) for prompt in asked]  # type: ignore[arg-type]
        said = [
            answer.text if isinstance(prompt, str) else [{"role": "assistant", "content": answer.text}]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        shared = set(asked[0].columns).intersection(*(prompt.columns for prompt in asked))
        columns = {name: [prompt.columns[name] for prompt in asked] for name in shared}
        return self.function.score(prompts, said, **columns)


@dataclass(frozen=True, slots=True)
class Rollout:
    """Answers to a batch of prompts, and what is known of them before the first update.

    Shapes: tokens are [B, L], states [B, M] with M = L + 1. `tokens_BL` and `states_BM` are masks.
    """

    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]
    logprobs_BL: Tensor
    kl_BL: Tensor
    values_BM: Tensor
    advantages_BL: Tensor
    returns_BM: Tensor
    tokens_BL: Tensor
    states_BM: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """What models said of answers, before rewards and advantages are computed from it; shapes as in `Rollout`."""

    logprobs_BL: Tensor
    ref_logprobs_BL: Tensor
    values_BM: Tensor
    tokens_BL: Tensor
    scores_B: Tensor


def score_answers(scores: Sequence[float | None], answers: Sequence[Answer], penalty: float | None) -> list[float]:
    """Return scores less the penalty of cut answers; NaN stands for what could not be scored.

    Raises:
        ScoringError: nothing of the batch could be scored.
    """
    if all(score is None for score in scores):
        raise ScoringError(f"none of {len(scores)} answers could be scored; look at the reward model's messages above")
    return [
        float("nan") if score is None else score - (penalty or 0.0) * answer.is_cut
        for score, answer in zip(scores, answers, strict=True)
    ]


def build_rollout(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    measured: Measured,
    config: PPOConfig,
    kl_coef: float,
) -> Rollout:
    """Compute rewards of states, advantages and returns; an answer without score is masked out."""
    is_scored_B = torch.isfinite(measured.scores_B)
    tokens_BL = measured.tokens_BL & is_scored_B[:, None]
    lengths_B = measured.tokens_BL.sum(1)
    places = torch.arange(tokens_BL.shape[1] + 1, device=tokens_BL.device)
    states_BM = (places <= lengths_B[:, None]) & is_scored_B[:, None]
    kl_BL = formulas.kl_per_token(measured.logprobs_BL, measured.ref_logprobs_BL, config.kl_estimator) * tokens_BL
    scores_B = torch.nan_to_num(measured.scores_B, nan=0.0)
    rewards_BM = formulas.rewards_of_states(kl_BL, scores_B, lengths_B, kl_coef)
    if config.whiten_rewards:
        rewards_BM = formulas.whiten(rewards_BM, states_BM, shift_mean=False)
    values_BM = measured.values_BM * states_BM
    advantages_BM, returns_BM = formulas.generalized_advantages(rewards_BM, values_BM, config.gamma, config.lam)
    advantages_BL = formulas.whiten(advantages_BM[:, :-1], tokens_BL)
    return Rollout(
        prompts, answers, measured.logprobs_BL, kl_BL, values_BM, advantages_BL, returns_BM, tokens_BL, states_BM
    )
