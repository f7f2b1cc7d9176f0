"""The models of a run: policy and values as one module, a value model from a reward model, rewards of token ids."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import ConfigError
from rewardsmith.models.heads import pool_backbone
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.rl.policy import AnswerLogits, answer_logits, pad_left, pad_right
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.scoring.scorer import RewardScorer

logger = logging.getLogger(__name__)
Sequences = Sequence[Sequence[int]]


class PolicyAndValue(nn.Module):
    """A policy and a value model as one module, so that one optimizer and one wrapper hold both.

    Args:
        policy: a causal language model, with an adapter or without.
        value_model: has a backbone under its `base_model_prefix` and a linear head `score`.
        pad_token_id: fills rows; it is masked everywhere.
    """

    def __init__(self, policy: PreTrainedModel, value_model: PreTrainedModel, pad_token_id: int) -> None:
        super().__init__()
        if not isinstance(getattr(value_model, "score", None), nn.Module):
            raise ConfigError(
                f"value_model {type(value_model).__name__} has no head 'score'; load it with num_labels=1"
            )
        self.policy, self.value_model, self.pad_token_id = policy, value_model, pad_token_id

    def forward(
        self, prompts: Sequences, answers: Sequences, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log-probabilities [B, L], entropies [B, L], values of states [B, M] and the mask of tokens [B, L]."""
        found = answer_logits(self.policy, prompts, answers, self.pad_token_id)
        with torch.no_grad():
            entropies_BL = found.entropies(temperature)
        values_BM = token_values(self.value_model, prompts, answers, self.pad_token_id)
        return found.logprobs(temperature), entropies_BL, values_BM, found.mask.bool()

    def gradient_checkpointing_enable(self, **options: object) -> None:
        """Recompute the activations of both models in the backward pass."""
        for model in (self.policy, self.value_model):
            if getattr(model, "supports_gradient_checkpointing", False):
                model.gradient_checkpointing_enable(**options)  # type: ignore[arg-type]


def token_values(model: PreTrainedModel, prompts: Sequences, answers: Sequences, pad_token_id: int) -> Tensor:
    """Return the value of every state of answers, before each token and after the last; shape [B, M]."""
    device = next(model.parameters()).device
    prompt_BL, prompt_mask = pad_left(prompts, pad_token_id, device)
    answer_BL, answer_mask = pad_right(answers, pad_token_id, device)
    mask = torch.cat([prompt_mask, answer_mask], dim=1)
    backbone: nn.Module = getattr(model, model.base_model_prefix)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    ids = torch.cat([prompt_BL, answer_BL], dim=1)
    hidden = backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
    states = hidden[:, -answer_BL.shape[1] - 1 :]
    head: nn.Module = model.score  # type: ignore[assignment]
    return head(states.to(next(head.parameters()).dtype))[..., 0].float()


def means_the_same(policy: PreTrainedTokenizerBase, reward: PreTrainedTokenizerBase) -> bool:
    """Whether every token of a policy has the same id for a reward model."""
    known = reward.get_vocab()
    return all(known.get(token) == number for token, number in policy.get_vocab().items())


def value_model_from(source: object, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return the model that values start from: a copy of the reward model, else of the policy under a new head.

    Of an ensemble it is the first member. A reward model that cannot serve is named in one line of the log.
    """
    if isinstance(source, PreTrainedModel):
        return copy.deepcopy(source)
    member = source.members[0] if isinstance(source, RewardScorer) else source
    why = "it is no model in this process"
    if isinstance(member, RewardModel):
        core = core_model(member.model)
        rows = core.get_input_embeddings().num_embeddings
        if not means_the_same(tokenizer, member.tokenizer) or rows < len(tokenizer):
            why = "its vocabulary is not the policy's"
        elif not has_causal_backbone(core):
            why = "it is no decoder"
        else:
            return _with_own_head(copy.deepcopy(member.model))
    logger.warning(
        "values do not start from the reward model %s (%s); they start from the policy, under a new head that gives 0",
        getattr(member, "name", type(member).__name__),
        why,
    )
    base = policy.get_base_model() if hasattr(policy, "peft_config") else policy  # type: ignore[operator]
    return _new_head(copy.deepcopy(getattr(base, base.base_model_prefix)))


def has_causal_backbone(core: PreTrainedModel) -> bool:
    """Whether a reward model's values of a token do not look at later ones."""
    config = core.config.get_text_config()
    return hasattr(core, core.base_model_prefix) and getattr(config, "type_vocab_size", 0) in (0, None)


def _with_own_head(model: PreTrainedModel) -> PreTrainedModel:
    """Merge an adapter, and keep a head that reads one token; another gets replaced."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()  # type: ignore[operator]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    head = getattr(model, "score", None)
    if (
        isinstance(head, nn.Linear)
        and head.out_features == 1
        and getattr(model.config, "reward_pooling", "last") == "last"
    ):
        return model  # type: ignore[no-any-return]
    return _new_head(getattr(model, model.base_model_prefix))


def _new_head(backbone: PreTrainedModel) -> PreTrainedModel:
    model = pool_backbone(backbone, "last").to(backbone.device)  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    with torch.no_grad():
        model.score.weight.zero_()
    return model


def reference_logits(
    policy: PreTrainedModel, reference: PreTrainedModel | None, batch: tuple[Sequences, Sequences, int]
) -> AnswerLogits:
    """Return what the reference says of answers, or the policy with its adapter off; without gradient."""
    with torch.no_grad():
        if reference is not None:
            return answer_logits(reference, *batch)
        off = policy.disable_adapter() if hasattr(policy, "disable_adapter") else nullcontext()  # type: ignore[operator]
        with off:
            return answer_logits(policy, *batch)
