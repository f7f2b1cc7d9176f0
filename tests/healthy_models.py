"""Models as a good training run leaves them, and what the doctor finds in them."""

import json

import tiny_models
import torch

from rewardsmith.doctor import examine, examine_loaded
from rewardsmith.models.tokenizer import prepare_tokenizer


def healthy(name="qwen2"):
    """A model as a good training run leaves it."""
    model, tokenizer = getattr(tiny_models, name)()
    prepare_tokenizer(tokenizer, model)
    model.config.problem_type = "regression"
    head = getattr(model, "score", None) or model.classifier
    torch.nn.init.normal_(head.weight, std=0.4)
    if name == "llama":
        # As complete_folder saves it: the rendered text holds its BOS.
        from tokenizers.processors import Sequence

        tokenizer.backend_tokenizer.post_processor = Sequence([])
    return model.eval(), tokenizer


def found(model, tokenizer, check, **options):
    """The finding of a check; there is exactly one."""
    (finding,) = [f for f in examine_loaded(model, tokenizer, **options) if f.check == check]
    return finding


def by_check(findings):
    return {finding.check: finding for finding in findings}


def level(check, *arguments):
    return by_check(examine(*arguments))[check].level


def edit(path, **values):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
