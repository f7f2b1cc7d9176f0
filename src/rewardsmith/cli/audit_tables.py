"""The further parts of an audit as tables for the terminal: curves, matrix, novelty, risk, contamination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rewardsmith.records import Estimate
from rewardsmith.report.numbers import (
    read_estimate,
    read_estimates,
    read_number,
    show,
    show_estimate,
    show_interval,
)

if TYPE_CHECKING:
    from rich.table import Table


def part_tables(parts: Mapping[str, Any]) -> Iterator[Table]:
    """Give a table for each part that is there.

    Args:
        parts: plain values by name ("over_optimisation", "shift", "risk", "contamination"), as an audit holds them.
    """
    for name, build in (
        ("over_optimisation", _curves),
        ("shift", _shift),
        ("risk", _risk),
        ("contamination", _contamination),
    ):
        part = parts.get(name)
        if isinstance(part, Mapping):
            yield from build(part)


def _curves(part: Mapping[str, Any]) -> Iterator[Table]:
    """Give proxy and gold reward of the best of n."""
    samples = part["samples"]
    title = f"best of n by this reward: {samples['prompts']} prompts, {samples['per_prompt']} samples of each or more"
    table = _table(title, "n", "KL, nats", "proxy", "gold", "lost to a perfect choice")
    columns = [[_without_n(read_estimate(item)) for item in part[name]] for name in ("proxy", "gold", "regret")]
    for n, kl, *row in zip(part["n"], part["kl"], *columns, strict=True):
        table.add_row(str(n), f"{kl:.3f}", *row)
    yield table
    fit = part["fit"]
    table = _table("gold(n) - gold(1) = d (alpha - beta d), d = sqrt(KL)", "what", "value")
    for name in ("alpha", "beta"):
        table.add_row(name, _estimate(fit[f"{name}_interval"]))
    table.add_row("the curve turns at KL", _estimate(fit["turning_kl"]))
    table.add_row("that is best of", show(read_number(fit["turning_n"])))
    table.add_row("highest gold at best of", str(fit["peak_n"]))
    table.add_row("the fit turns at KL", _estimate(fit["turning_kl_of_fit"]))
    table.add_row("largest misfit of the fit, in the curve's range", show(read_number(fit["misfit"])))
    yield table


def _shift(part: Mapping[str, Any]) -> Iterator[Table]:
    """Give the matrices and accuracy by novelty."""
    titles = {
        "matrix": "accuracy of each model (row) on each data set",
        "loss_against_the_data_sets_own_model": "lost against the model of the data set's own name, same judgements",
    }
    for key, title in titles.items():
        rows = {name: read_estimates(row) for name, row in (part.get(key) or {}).items()}
        if rows:
            columns = next(iter(rows.values()))
            table = _table(title, "", *(f"{name} (n={estimate.n:,})" for name, estimate in columns.items()))
            for name, row in rows.items():
                table.add_row(name, *(_without_n(row[column]) for column in columns))
            yield table
    if part.get("novelty"):
        title = f"accuracy by the share of runs of {part['words_in_a_run']} words that the training data lack"
        table = _table(title, "novelty", "groups", "accuracy")
        for item in part["novelty"]:
            table.add_row(f"{item['from']:.3f} to {item['to']:.3f}", str(item["groups"]), _estimate(item["accuracy"]))
        table.add_row("newest minus oldest", "", _estimate(part["newest_minus_oldest"]))
        yield table


def _risk(part: Mapping[str, Any]) -> Iterator[Table]:
    """Give how well each measure of confidence tells right from wrong."""
    title = "selective risk: the surest judgements first"
    n = next((found["aurc"]["n"] for found in part["by_confidence"].values()), 0)
    title += f" ({n:,} judgements)"
    table = _table(title, "confidence", "AUROC", "AURC", "perfect", "random", "risk of the surest half")
    for name, found in part["by_confidence"].items():
        half = next(item["risk"] for item in found["curve"] if item["coverage"] == 0.5)
        ends = [show(read_number(found[key])) for key in ("aurc_perfect", "aurc_random")]
        auroc, aurc, risk = (_without_n(read_estimate(value)) for value in (found["auroc"], found["aurc"], half))
        table.add_row(name, auroc, aurc, *ends, risk)
    yield table


def _contamination(part: Mapping[str, Any]) -> Iterator[Table]:
    """Give the shares of groups that were trained on, and accuracy on them and on the others."""
    if "shares" not in part:
        return
    title = f"contamination by the {part['source']} ({part['training_groups']:,} groups)"
    table = _table(title, "what", "value")
    for name, estimate in read_estimates(part["shares"]).items():
        table.add_row(f"share: {name}", show_estimate(estimate))
    for name, estimate in read_estimates(part["accuracy"]).items():
        table.add_row(f"accuracy: {name.replace('_', ' ')}", show_estimate(estimate))
    if part["not_told"]:
        table.add_row("groups that the record does not tell of", f"{part['not_told']:,} of {part['groups']:,}")
    yield table


def _estimate(value: Any) -> str:
    estimate = read_estimate(value)
    return "" if estimate is None else show_estimate(estimate)


def _without_n(estimate: Estimate | None) -> str:
    """Write value and interval where n stands elsewhere in the table."""
    if estimate is None:
        return ""
    interval = show_interval(estimate)
    return f"{show(estimate.value)} [{interval}]" if interval else show(estimate.value)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left")
