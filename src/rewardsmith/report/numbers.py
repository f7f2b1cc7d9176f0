"""Numbers of a result, read from JSON and shown to people: NaN is "undefined", never 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.records import Estimate


def read_number(value: Any) -> float:
    """Give a number, NaN for None, for text and for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def read_estimate(value: Any) -> Estimate | None:
    """Read an Estimate or its dictionary; None when `value` is neither."""
    if isinstance(value, Estimate):
        return value
    if not isinstance(value, Mapping) or not {"value", "n"} <= set(value):
        return None
    n = read_number(value["n"])
    low, high = read_number(value.get("low")), read_number(value.get("high"))
    return Estimate(read_number(value["value"]), 0 if math.isnan(n) else int(n), low, high)


def read_estimates(value: Any) -> dict[str, Estimate]:
    """Give the entries of a mapping that are estimates."""
    if not isinstance(value, Mapping):
        return {}
    found = {str(name): read_estimate(item) for name, item in value.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def show(value: float, signed: bool = False) -> str:
    """Give a number in three decimals or digits, fewer when it is large, a power of ten when it is tiny.

    Example:
        >>> show(0.51234), show(12345.6), show(float("nan")), show(0.00001)
        ('0.512', '12,346', 'undefined', '1.0e-05')
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    sign = "+" if signed else ""
    size = abs(value)
    if size >= 1000:
        return f"{value:{sign},.0f}"
    if 0 < size < 0.0001:
        return f"{value:{sign}.1e}"
    if 0 < size < 0.01:
        return f"{value:{sign}.3g}"
    return f"{value:{sign}.{1 if size >= 100 else 3}f}"


def show_interval(estimate: Estimate, signed: bool = False) -> str:
    """Give "low to high", "low or more" without an upper end, or nothing without an interval."""
    if math.isnan(estimate.low):
        return ""
    if math.isnan(estimate.high):
        return f"{show(estimate.low, signed)} or more"
    return f"{show(estimate.low, signed)} to {show(estimate.high, signed)}"


def show_estimate(estimate: Estimate, signed: bool = False) -> str:
    """Give value, interval and n on one line; an undefined value is "undefined (n=...)"."""
    if math.isnan(estimate.value):
        return f"undefined (n={estimate.n:,})"
    interval = show_interval(estimate, signed)
    return f"{show(estimate.value, signed)}{f' [{interval}]' if interval else ''} (n={estimate.n:,})"
