"""What results leave in folders: a section of a model's card, and the run.json of runs side by side, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.blocks.kinds import Block, Cell, FindingLine, Findings, Paragraph, Table, Value
from rewardsmith.blocks.text import plain, write_section
from rewardsmith.blocks.words import read_estimate, read_estimates, read_number, words
from rewardsmith.errors import ConfigError, one_line
from rewardsmith.evaluation.sections import MAIN
from rewardsmith.records import Estimate
from rewardsmith.stats.calibration import Calibration

Plain = Mapping[str, Any]
METRICS = {
    MAIN: "accuracy",
    "accuracy_strict": "accuracy, equal rewards wrong",
    "reward_tie_rate": "ties in reward",
    "best_of_k": "the highest reward is a best answer",
}
RECORD = "run.json"
CHOSEN_BY = {"training": "the model of ties of its training", "likelihood": "of two models of ties the likelier"}
UNKNOWN = Estimate(float("nan"), 0)


def write_evaluation(folder: Path, result: Plain, data: str) -> Path:
    """Write what was measured on `data` into the model card."""
    name = plain(Path(data).name)
    counts = f"{result['groups']} groups, {result['comparisons']} judgements, of which {result['gold_ties']} are ties."
    ceiling = read_estimate(result.get("noise_ceiling"))
    rows = _rows(result)
    if ceiling and ceiling.n:
        rows.append(["ceiling of raters' noise", ceiling])
    notes = [*_worst_strata(result), *_calibration(result), *_left_out(result.get("dropped"))]
    blocks: list[Block] = [Paragraph(counts), Table("", ("", "value"), rows)]
    blocks += [Paragraph("\n".join(notes))] if notes else []
    return write_section(folder, f"Measured on `{name}`", f"evaluation of {name}", blocks)


def write_benchmark(folder: Path, result: Plain) -> Path:
    """Write a benchmark's score, its parts and the scores of its baselines into the model card."""
    parts = read_estimates(result.get("parts"))
    rows: list[list[Any]] = [["score", read_estimate(result.get("score"))], *(list(item) for item in parts.items())]
    baselines = read_estimates(result.get("score_of_baselines"))
    rows += [[f"baseline: {name}", estimate] for name, estimate in baselines.items()]
    notes = _left_out(result.get("left_out"))
    blocks: list[Block] = [Table("", ("", "value"), rows), *([Paragraph("\n".join(notes))] if notes else [])]
    return write_section(folder, str(result["benchmark"]), f"benchmark {result['benchmark']}", blocks)


def write_audit(folder: Path, result: Plain, data: str) -> Path:
    """Write an audit's accuracy beside its baselines, and its findings, into the model card."""
    inner, name = result["evaluation"], plain(data)
    found = Findings([FindingLine(row["level"], row["text"]) for row in result["findings"]])
    counts = Paragraph(f"{inner['groups']} groups, {inner['comparisons']} judgements.")
    blocks: list[Block] = [counts, Table("", ("", "value"), _rows(inner)), found]
    return write_section(folder, f"Audited on {name}", f"audit on {name}", blocks)


def _rows(result: Plain) -> list[list[Any]]:
    """Return metrics and baselines, one a row."""
    metrics = read_estimates(result.get("metrics"))
    rows: list[list[Any]] = [[METRICS[key], metrics[key]] for key in METRICS if key in metrics and metrics[key].n]
    baselines = read_estimates(result.get("baselines"))
    return rows + [[f"baseline: {words(name)}", estimate] for name, estimate in baselines.items()]


def _worst_strata(result: Plain) -> list[str]:
    """Name the worst part of each axis: it predicts trouble better than the mean does."""
    lines = []
    for axis, parts in result["strata"].items():
        found = {name: read_estimates(metrics).get(MAIN) for name, metrics in parts.items()}
        known = {name: estimate for name, estimate in found.items() if estimate is not None and estimate.n}
        if known:
            name = min(known, key=lambda part: known[part].value)
            lines.append(f"- worst {axis}: {plain(name)}, {known[name]}")
    return lines


def _calibration(result: Plain) -> list[str]:
    """Return the calibration in one line; nothing where it is undefined."""
    found = result["calibration"]
    temperature, before, after = map(read_number, (found["temperature"], found["raw"]["ece"], found["scaled"]["ece"]))
    # NaN: there was no margin to fit.
    if temperature != temperature or before != before:
        return []
    numbers = f"{before:.3f} before and {after:.3f} after dividing by {temperature:.3g}"
    return [f"- calibration error of sigmoid(margin): {numbers}, fitted on other prompts", *_ties(found.get("ties"))]


def _ties(found: Plain | None) -> list[str]:
    """Return the calibration of P(tie) in a line; nothing where no threshold was fitted."""
    fit = found and found["fit"]
    if not found or not fit:
        return []
    share, means = read_estimate(found["share"]), read_estimates(found["predicted"])
    before = f"{means['as_it_is'].value:.3f} before and " if "as_it_is" in means else ""
    chosen = CHOSEN_BY.get(str(found["chosen_by"]), "")
    return [
        f"- ties: {share} of the judgements; mean P(tie) {before}{means['fitted'].value:.3f} after temperature "
        f"{fit['temperature']['value']:.3g} and threshold {fit['threshold']['value']:.3g} of {fit['model']} ({chosen})"
    ]


def _left_out(counts: Mapping[str, int] | None) -> list[str]:
    return [f"- left out: {count} rows ({plain(reason)})" for reason, count in (counts or {}).items()]


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run: where it lies, what it learned from, and how good it is.

    Args:
        baseline: the better of the rules of length on the same held-out judgements.
        time: when the record was written, seconds since 1970.
    """

    name: str
    model: str
    data: str
    objective: str
    learning_rate: float | None
    accuracy: Estimate
    baseline: Estimate
    time: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "model": self.model,
            "data": self.data,
            "objective": self.objective,
            "learning_rate": self.learning_rate,
            "accuracy": self.accuracy.to_dict(),
            "baseline": self.baseline.to_dict(),
            "time": self.time,
        }


def read_runs(folder: Path, order: str = "accuracy") -> tuple[list[RunLine], list[str]]:
    """Return the runs below a folder, best or newest first, and a line for each record that cannot be read."""
    runs, unread = [], []
    for path in sorted(folder.rglob(RECORD)):
        try:
            runs.append(_line(folder, path, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"{path}: no record of a run ({one_line(error)})")
    keys = {
        # Runs without held-out judgements come last.
        "accuracy": lambda run: (run.accuracy.n == 0, -run.accuracy.value if run.accuracy.n else 0.0, run.name),
        "time": lambda run: (-run.time, run.name),
        "name": lambda run: run.name,
    }
    return sorted(runs, key=keys[order]), unread


def runs_table(runs: Sequence[RunLine], unread: Sequence[str]) -> list[Block]:
    """Return the runs as a table, and what could not be read."""
    header = ("run", "accuracy", "n", "length rule", "objective", "data")
    rows: list[list[Value | Cell]] = [
        [
            run.name,
            run.accuracy if run.accuracy.n else "none",
            f"{run.accuracy.n:,}",
            run.baseline.value if run.baseline.n else "none",
            run.objective,
            Path(run.data).name,
        ]
        for run in runs
    ]
    return [Table(f"{len(runs)} runs", header, rows), *map(Paragraph, unread)]


def _line(folder: Path, path: Path, record: Mapping[str, Any]) -> RunLine:
    reward = record["settings"]["reward"]
    held_out = record.get("held_out") or {}
    rules = read_estimates(held_out.get("baselines"))
    return RunLine(
        name=str(path.parent.relative_to(folder)) if path.parent != folder else folder.resolve().name,
        model=str(record["model"]),
        data=str(record["data"]),
        objective=str(reward["loss_type"]),
        learning_rate=reward.get("learning_rate"),
        accuracy=read_estimate(held_out.get("accuracy")) or UNKNOWN,
        baseline=max(rules.values(), key=lambda rule: rule.value, default=UNKNOWN),
        time=path.stat().st_mtime,
    )


def save_temperature(folder: Path, calibration: Calibration) -> str:
    """Write the fitted temperature, with ties a threshold too, into the scoring contract. Returns what was written.

    Raises:
        ConfigError: the model has no contract.
        DataError: no temperature fits.
    """
    from rewardsmith.models.contract import FILE_NAME, read_contract

    contract = read_contract(folder)
    if contract is None:
        raise ConfigError(f"{folder} has no {FILE_NAME}; write one with `rewardsmith export`")
    fields = calibration.contract_fields()
    contract.model_copy(update=fields).save(folder)
    told = f"{folder / FILE_NAME}: temperature {fields['temperature']:.4g}"
    ties = calibration.ties
    if ties is not None and ties.fit is not None:
        return f"{told}, threshold {ties.fit.threshold.value:.4g} of {ties.fit.model} ({CHOSEN_BY[ties.chosen_by]})"
    if ties is not None and ties.why is not None:
        told += f"; no threshold of ties: {ties.why}"
    if contract.tie_model is not None:
        told += f"; the threshold of {contract.tie_model} that an earlier fit wrote is gone with its temperature"
    return told
