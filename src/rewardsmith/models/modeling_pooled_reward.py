"""A reward model of a decoder with a pooling or a head that transformers' classifiers do not have.

It pools the last hidden states: the last, their mean, or mean and maximum side by side; its head is linear or has one
hidden layer.

Written by Rewardsmith. This file stands beside the weights and needs transformers and torch only:
`AutoModelForSequenceClassification.from_pretrained(path, trust_remote_code=True)`.
"""

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


def make_head(config):
    """Return the head of `config.num_labels` outputs: linear, or with a hidden layer of `config.reward_head_width`.

    A linear head has a bias where `config.reward_bias` is true.
    """
    width = config.get_text_config().hidden_size * (2 if config.reward_pooling == "mean_max" else 1)
    hidden = getattr(config, "reward_head_width", None)
    if hidden:
        return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, config.num_labels))
    return nn.Linear(width, config.num_labels, bias=bool(getattr(config, "reward_bias", False)))


class PooledRewardModel(PreTrainedModel):
    """A decoder, a pooling (`config.reward_pooling`: "last", "mean" or "mean_max") and a head."""

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = AutoModel.from_config(config)
        self.score = make_head(config)
        self.post_init()

    # Which attention and which experts are possible, the decoder inside decides; this class has none of its own.
    def _check_and_adjust_attn_implementation(self, attn_implementation, *args, **kwargs):
        return attn_implementation

    def _check_and_adjust_experts_implementation(self, experts_implementation, *args, **kwargs):
        return experts_implementation

    # As custom code, a decoder that computes buffers for its layers would be left with unset memory.
    def is_custom_code(self):  # type: ignore[override]
        return self.model.is_custom_code()

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        kwargs.pop("use_cache", None)
        kwargs.pop("return_dict", None)
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **kwargs)
        hidden = outputs.last_hidden_state.float()
        if attention_mask is None:
            pad = getattr(self.config.get_text_config(), "pad_token_id", None)
            attention_mask = torch.ones(hidden.shape[:2], device=hidden.device)
            if pad is not None and input_ids is not None:
                attention_mask = (input_ids != pad).to(hidden.dtype)
        mask = attention_mask.to(hidden.dtype).unsqueeze(-1)
        if self.config.reward_pooling == "last":
            places = torch.arange(hidden.shape[1], device=hidden.device) * mask[..., 0]
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), places.argmax(1)]
        else:
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        if self.config.reward_pooling == "mean_max":
            maximum = hidden.masked_fill(mask == 0, torch.finfo(hidden.dtype).min).amax(1)
            pooled = torch.cat([pooled, maximum], dim=-1)
        if isinstance(self.score, nn.Linear):
            bias = None if self.score.bias is None else self.score.bias.float()
            logits = nn.functional.linear(pooled, self.score.weight.float(), bias)
        else:
            # A hidden layer, or what peft wraps around a head that it saves.
            logits = self.score(pooled.to(next(self.score.parameters()).dtype)).float()
        loss = None if labels is None else nn.functional.mse_loss(logits.squeeze(-1), labels.float())
        return SequenceClassifierOutput(loss=loss, logits=logits)
