"""LLaMA-Factory: `value_head.safetensors` or `.bin` beside a language model, or beside a LoRA adapter of one."""

from __future__ import annotations

from rewardsmith.models.foreign.folder import Folder, load_tokenizer
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule, TextRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier
from rewardsmith.models.foreign.trl_value_head import HEAD
from rewardsmith.models.templates import control_tokens, template_marks
from rewardsmith.models.tokenizer import TemplateEnd

NAME = "LLaMA-Factory value head"
ACCEPTS = "value_head.safetensors or value_head.bin beside a language model or its LoRA adapter (LLaMA-Factory)"

TEXT = "the chat template as it is, a newline at its end included{eos}; plain text as it is"
# Its template of this family writes EOS after the newline that the family's own template ends in.
EOS_AFTER_TURN = ("gemma2",)


def recognises(folder: Folder) -> bool:
    """Whether the head stands in a file of its own."""
    return HEAD.weight in folder.head_files


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head; an adapter is merged into its base. Raises CheckpointError when weights are missing."""
    merged = ", its LoRA adapter merged" if folder.is_adapter else ""
    end = _template_end(folder, options)
    text = TEXT.format(eos=", then EOS" if end else "")
    rule = ScoringRule(f"{NAME}{merged}", "the last token, by the linear value head with its bias", text)
    head = HEAD if HEAD.bias in folder.head_files else LinearHead(HEAD.weight)
    model, notes = build_classifier(folder, head, options)
    return Imported(model, rule, TextRule(end, is_plain_closed=False, has_bos=False), notes=notes)


def _template_end(folder: Folder, options: ImportOptions) -> TemplateEnd | None:
    """Say where its trainer put EOS after the template (`efficient_eos` in llamafactory/data/template.py).

    It does so for templates whose answer ends in no control token, and scores the last token of what comes out
    (data/processor/pairwise.py, train/rm/trainer.py); elsewhere the template's own end is scored, newline and all.
    """
    tokenizer = load_tokenizer(folder.path, options.trust_remote_code)
    marks = template_marks(tokenizer)
    if marks is None:
        return None
    is_open = not any(token in marks.end for token in control_tokens(tokenizer))
    config = folder.config.get("model_type")
    return TemplateEnd(strip="") if is_open or config in EOS_AFTER_TURN else None
