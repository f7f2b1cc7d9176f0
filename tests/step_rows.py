"""Solutions with judged steps, and a tiny model that judges them, for the tests of step models."""

import copy
from functools import cache

import torch
from tiny_models import qwen_tokenizer
from transformers import Qwen2Config, Qwen2ForTokenClassification

STEPS = (["good nice", "bad answer", "poor"], ["good nice", "great", "fine answer is"], ["awful"])
LABELS = ([True, False, False], [True, True, True], [False])
ROWS = [
    {"prompt": f"question {number}\n", "completions": steps, "labels": labels}
    for number in range(3)
    for steps, labels in zip(STEPS, LABELS, strict=True)
]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@cache
def _judge():
    torch.manual_seed(0)
    sizes = {**SIZES, "num_key_value_heads": 2, "vocab_size": 420, "max_position_embeddings": 512}
    return Qwen2ForTokenClassification(Qwen2Config(num_labels=2, pad_token_id=0, **sizes)), qwen_tokenizer()


def judge():
    """Return a new copy of the model, and its tokenizer."""
    return copy.deepcopy(_judge())
