"""Write any reward model in Hugging Face's standard layout, and prove that its rewards stayed what they were.

The folder appears whole or not at all: it is written beside its place, loaded anew, compared, and then renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.blocks.html import render_facts
from rewardsmith.data import training_record
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models import heads
from rewardsmith.models.adapters import merge_adapter
from rewardsmith.models.checkpoint import (
    LoadedModel,
    complete_folder,
    load_reward_model,
    prepare_config,
    verify_in_fresh_process,
    write_contract,
)
from rewardsmith.models.contract import golden_requests
from rewardsmith.models.foreign.folder import ADAPTER, local_folder, read_config
from rewardsmith.models.golden import TOLERANCES, require_golden
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.places import is_token_classifier
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.wide_head import collapse
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.reward_model import RewardModel

# What a contract says beside the files; the rest is read off what is saved.
KEPT = (
    "chat_template_kwargs",
    "max_length",
    "truncation_side",
    "overflow",
    "reward_mean",
    "reward_std",
    "reward_n",
    "temperature",
    "tie_model",
    "tie_threshold",
    "objective",
    "steps",
    "data_fingerprint",
)


@dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Args:
        dtype: of the weights that are written; None keeps the model's own, float32 for a merged adapter.
        drop_bias: leave out a head's bias, so that transformers' own class holds it; all rewards shift by one constant.
        overwrite: replace a folder that is there.
        trust_remote_code: allow Python code that the model brings.
        verify: also load the result in a fresh process and compare its golden rewards.
        revision: branch, tag or commit of a hub id.
    """

    dtype: str | None = None
    drop_bias: bool = False
    overwrite: bool = False
    trust_remote_code: bool = False
    verify: bool = True
    revision: str | None = None


@dataclass(frozen=True, repr=False)
class ExportReport:
    """What was written.

    Args:
        folder: where it lies.
        architecture: class that loads it.
        dtype: of its weights.
        texts: how many texts were scored by both.
        difference: largest difference between their rewards, after `shift`.
        tolerance: what was allowed.
        shift: constant that was taken off every reward with the head's bias.
        merged: whether a LoRA adapter was merged.
        own_code: whether other tools need `trust_remote_code=True`.
        rule: how the original was scored.
        notes: what else there is to say.
    """

    folder: Path
    architecture: str
    dtype: str
    texts: int
    difference: float
    tolerance: float
    shift: float
    merged: bool
    own_code: bool
    rule: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"<exported to {self.folder}: {self.architecture}, {self.dtype}; rewards differ by {self.difference:.1e}>"
        )

    def _repr_html_(self) -> str:
        named = {"folder": str(self.folder), "architecture": self.architecture, "dtype": self.dtype, "rule": self.rule}
        found = f"{self.difference:.1e} of {self.texts} texts at most, allowed {self.tolerance:.0e}"
        return render_facts({**named, "rewards differ by": found, "taken off every reward": self.shift})


def export_model(source: str, out: str | Path, options: ExportOptions | None = None) -> ExportReport:
    """Load `source`, write it to `out` in the standard layout and compare the rewards of both.

    Args:
        source: folder or hub id of any reward model that `RewardModel.from_pretrained` loads.
        out: folder to write.

    Raises:
        CheckpointError: it cannot be loaded, or the copy gives other rewards; nothing is written then.
        ConfigError: the standard layout cannot hold such a model, or `out` is taken.
    """
    options, out = options or ExportOptions(), Path(out)
    _check_place(source, out, options.overwrite)
    place = local_folder(source, options.revision)
    dtype = options.dtype or _own_dtype(place)
    loaded = load_reward_model(place, trust_remote_code=options.trust_remote_code, dtype=dtype)
    require_golden(loaded, source)
    if loaded.contract is None and loaded.imported is not None and loaded.imported.refusal:
        raise ConfigError(f"{source} cannot be written in the standard layout: {loaded.imported.refusal}")
    model = RewardModel(loaded, source)
    requests = [*golden_requests(loaded.renderer), *_longer_requests(loaded.tokenizer)]
    # A model of few positions cannot read the longer texts.
    most = model.max_length
    requests = [r for r in requests if most is None or len(model.encode(r, whole=True)[0]) <= most]
    before = model.score_requests(requests)
    rule, notes = str(model.rule), tuple(loaded.notes)
    merged = hasattr(loaded.model, "merge_and_unload")
    core, shift = _standard_form(loaded, options.drop_bias)
    fields = _contract_fields(loaded, shift)
    with _written_whole(out, options.overwrite) as folder:
        _write(folder, core, loaded, fields)
        copy = RewardModel(load_reward_model(folder, dtype=dtype), str(out))
        after = copy.score_requests(requests)
        difference, tolerance = _compare(before, after, shift, core.dtype)
        if not difference <= tolerance:
            raise CheckpointError(
                f"{source}: the copy's rewards differ by {difference:.2e}, allowed {tolerance:.0e}; nothing was written"
            )
        if options.verify:
            verify_in_fresh_process(folder)
        record = Path(place) / training_record.FILE_NAME
        if record.is_file():
            shutil.copy(record, folder)
    name = type(core).__name__
    own_code = hasattr(core.config, "reward_pooling")
    texts, precision = sum(map(len, before)), str(core.dtype).removeprefix("torch.")
    return ExportReport(out, name, precision, texts, difference, tolerance, shift, merged, own_code, rule, notes)


def _standard_form(loaded: LoadedModel, drop_bias: bool) -> tuple[Any, float]:
    """Merge an adapter and settle the head's bias; give the model and what its rewards lose by a dropped bias."""
    model = merge_adapter(loaded.model) if hasattr(loaded.model, "merge_and_unload") else loaded.model
    core = core_model(model)
    if is_token_classifier(core):
        return core, 0.0
    # Other tools know one row: that of the mean of an ensemble's heads, or of weighted ratings, gives the same rewards.
    collapse(core)
    head = getattr(core, "score", None)
    if not isinstance(head, nn.Linear) or head.bias is None:
        return core, 0.0
    if drop_bias:
        shift = float(head.bias.detach().float()[0])
        head.register_parameter("bias", None)
        core.config.reward_bias = False
        return core, shift
    return (core if getattr(core.config, "reward_bias", False) else heads.with_bias(core)), 0.0


def _contract_fields(loaded: LoadedModel, shift: float) -> dict[str, Any]:
    """Return what the new contract takes over from the old one, or from the foreign config."""
    fields: dict[str, Any] = {}
    if loaded.contract is not None:
        fields = {name: getattr(loaded.contract, name) for name in KEPT}
    elif loaded.imported is not None and loaded.imported.reward_std:
        fields = {"reward_mean": loaded.imported.reward_mean, "reward_std": loaded.imported.reward_std}
    if fields.get("reward_mean") is not None:
        fields["reward_mean"] -= shift
    return fields


def _write(folder: Path, core: PreTrainedModel, loaded: LoadedModel, fields: dict[str, Any]) -> None:
    """Write weights, config, tokenizer and contract."""
    tokenizer, policy = loaded.tokenizer, loaded.renderer.policy
    if policy.skipped_id is not None and tokenizer.pad_token_id != policy.skipped_id:
        # What is scored depends on this pad token, so it stays.
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(policy.skipped_id)
    if tokenizer.pad_token_id is None:
        raise CheckpointError(f"{core.config._name_or_path} has no pad token; set tokenizer.pad_token and save it")
    prepare_config(core, tokenizer)
    if fields.get("reward_std") and not is_token_classifier(core):
        # OpenRLHF reads these.
        core.config.mean, core.config.std = fields["reward_mean"], fields["reward_std"]
    plan = prepare_model(core)
    core.save_pretrained(folder)
    complete_folder(folder, core, tokenizer)
    write_contract(folder, core, tokenizer, fields, plan, verify=False, policy=policy)


def _compare(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], shift: float, dtype: torch.dtype
) -> tuple[float, float]:
    """Return the largest difference and what the precision explains."""
    pairs = [(a - shift, b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)]
    scale = max(1.0, *(abs(a) for a, _ in pairs))
    tolerance = TOLERANCES.get(str(dtype).removeprefix("torch."), 3e-2) * scale
    return max(abs(a - b) for a, b in pairs), tolerance


def _longer_requests(tokenizer: PreTrainedTokenizerBase) -> list[ScoreRequest]:
    """Return plain texts of several lengths, so that parity does not rest on short ones."""
    sentence = "A reward is a number that is trusted only as far as it was checked on texts like those it will meet."
    words = sentence.split()
    prompt = " ".join(words * 2) + "\n"
    answers = tuple(" ".join(words[start:] + words[: 5 * start]) for start in range(4))
    limit = getattr(tokenizer, "model_max_length", None) or 512
    return [ScoreRequest(prompt, answers)] if limit >= 200 else []


def _own_dtype(source: str) -> str:
    """Name the precision in which a model's weights are kept; fp32 for an adapter, as merging rounds."""
    if (Path(source) / ADAPTER).is_file():
        return "float32"
    config = read_config(source)
    # transformers before 4.56 wrote torch_dtype.
    return str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")


def _check_place(source: str, out: Path, overwrite: bool) -> None:
    """Refuse to write over the source or, unasked, over anything that is there."""
    here = Path(source)
    if here.exists() and (out.resolve() == here.resolve() or out.resolve() in here.resolve().parents):
        raise ConfigError(f"{out}: the export would replace the model it is made of; write it elsewhere")
    if out.is_file():
        raise ConfigError(f"{out} is a file; name a folder")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out} exists already and is not empty; give --overwrite to replace it")
    if overwrite and out.exists() and any(out.iterdir()) and not (out / "config.json").is_file():
        raise ConfigError(f"{out} holds no model, so it is not replaced; name another folder")


@contextmanager
def _written_whole(out: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder beside `out` that takes its name at the end, or vanishes when something fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    replaced = out.with_name(f".{out.name}.replaced-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        _sync(partial)
        if out.exists():
            os.replace(out, replaced)
        os.replace(partial, out)
    except BaseException:
        if replaced.exists() and not out.exists():
            os.replace(replaced, out)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Let the disk have every file before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
