"""What an evaluation leaves in the model's folder: a section of its model card, and the temperature in its contract.

Each section stands between two markers that name the data, so a second run replaces it and touches nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardsmith._version import __version__
from rewardsmith.audit import Audit
from rewardsmith.errors import ConfigError
from rewardsmith.evaluation.calibration import Calibration
from rewardsmith.evaluation.evaluating import Evaluation
from rewardsmith.records import Estimate

CARD = "README.md"
HEADER = ("| | value | 95% interval | n |", "|---|---:|---:|---:|")
METRICS = {
    "accuracy": "accuracy",
    "accuracy_strict": "accuracy, equal rewards wrong",
    "reward_tie_rate": "ties in reward",
    "best_of_k": "the highest reward is a best answer",
}


def require_folder(model: str | None) -> Path:
    """Give the folder of a local model. Raises ConfigError for anything else: nothing can be written there."""
    if model is None or not Path(model).is_dir():
        raise ConfigError(f"{model or 'a file of scores'}: is no folder of a model, so nothing can be written into it")
    return Path(model)


def write_evaluation(folder: Path, result: Evaluation, data: str) -> Path:
    """Write what was measured on `data` into the model card."""
    lines = [f"## Measured on `{_plain(Path(data).name)}`", ""]
    lines += [f"{result.groups} groups, {result.comparisons} judgements, of which {result.gold_ties} are ties.", ""]
    shown = {METRICS[name]: result.metrics[name] for name in METRICS if result.metrics[name].n}
    baselines = {f"baseline: {name.replace('_', ' ')}": value for name, value in result.baselines.items()}
    ceiling = {"ceiling of raters' noise": result.ceiling} if result.ceiling.n else {}
    lines += [*HEADER, *_rows({**shown, **baselines, **ceiling}), ""]
    lines += _worst_strata(result)
    lines += _calibration(result.calibration)
    lines += [f"- left out: {count} rows ({_plain(reason)})" for reason, count in result.dropped.items()]
    return write_section(folder, f"evaluation of {_plain(Path(data).name)}", lines)


def write_benchmark(folder: Path, result: Any) -> Path:
    """Write a benchmark's score, its parts and the scores of its baselines into the model card."""
    lines = [f"## {result.benchmark}", "", *HEADER, *_rows({"score": result.score, **result.parts})]
    lines += [*_rows({f"baseline: {name}": value for name, value in result.baselines.items()}), ""]
    lines += [f"- left out: {count} rows ({_plain(reason)})" for reason, count in result.left_out.items()]
    return write_section(folder, f"benchmark {result.benchmark}", lines)


def write_audit(folder: Path, found: Audit, data: str) -> Path:
    """Write an audit's accuracy beside its baselines, and its findings, into the model card."""
    result = found.evaluation
    lines = [f"## Audited on {_plain(data)}", "", f"{result.groups} groups, {result.comparisons} judgements.", ""]
    shown = {METRICS[name]: result.metrics[name] for name in METRICS if result.metrics[name].n}
    baselines = {f"baseline: {name.replace('_', ' ')}": value for name, value in result.baselines.items()}
    lines += [*HEADER, *_rows({**shown, **baselines}), ""]
    lines += [f"- {finding.level}: {_plain(finding.text)}" for finding in found.findings]
    return write_section(folder, f"audit on {_plain(data)}", lines)


def write_section(folder: Path, name: str, lines: list[str]) -> Path:
    """Put lines between the markers of `name` in the model card: in place of an older section, else at the end."""
    path = folder / CARD
    card = path.read_text(encoding="utf-8") if path.is_file() else f"# Reward model: {path.parent.resolve().name}\n"
    begin, end = f"<!-- rewardsmith: {name} -->", f"<!-- rewardsmith: end of {name} -->"
    closing = f"Measured by Rewardsmith {__version__}; intervals are clustered by prompt."
    section = "\n".join([begin, *lines, "", closing, end])
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(card):
        card = pattern.sub(lambda _: section, card, count=1)
    else:
        card = card.rstrip("\n") + "\n\n" + section + "\n"
    path.write_text(card, encoding="utf-8")
    return path


def save_temperature(folder: Path, calibration: Calibration) -> Path:
    """Write the fitted temperature into the model's scoring contract.

    Raises:
        ConfigError: the model has no contract.
        DataError: no temperature fits.
    """
    from rewardsmith.models.contract import FILE_NAME, read_contract

    contract = read_contract(folder)
    if contract is None:
        raise ConfigError(f"{folder} has no {FILE_NAME}; write one with `rewardsmith export`")
    contract.model_copy(update=calibration.contract_fields()).save(folder)
    return folder / FILE_NAME


def _rows(estimates: Mapping[str, Estimate]) -> list[str]:
    rows = []
    for name, value in estimates.items():
        interval = "" if math.isnan(value.low) else f"{value.low:.3f} to {value.high:.3f}"
        shown = "undefined" if math.isnan(value.value) else f"{value.value:.3f}"
        rows.append(f"| {_plain(name)} | {shown} | {interval} | {value.n} |")
    return rows


def _worst_strata(result: Evaluation) -> list[str]:
    """Give the worst part of each axis: it predicts trouble better than the mean does."""
    lines = []
    for axis, parts in result.strata.items():
        known = {name: metrics["accuracy"] for name, metrics in parts.items()}
        known = {name: value for name, value in known.items() if value.n}
        if known:
            name = min(known, key=lambda part: known[part].value)
            lines.append(f"- worst {axis}: {_plain(name)}, {known[name]}")
    return lines


def _calibration(found: Calibration) -> list[str]:
    """Give the calibration in one line; nothing where it is undefined."""
    if math.isnan(found.temperature) or math.isnan(found.raw["ece"]):
        return []
    numbers = f"{found.raw['ece']:.3f} before and {found.scaled['ece']:.3f} after dividing by {found.temperature:.3g}"
    return [f"- calibration error of sigmoid(margin): {numbers}, fitted on other prompts"]


def _plain(text: str) -> str:
    """Keep what would break a table, a marker or the page out of a name."""
    return " ".join(re.sub(r"[`|<>]|--+", " ", text).split())
