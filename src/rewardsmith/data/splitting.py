"""Split preferences so that no prompt, and no near-duplicate of one, stands on two sides.

How old rows stay where they are when rows are appended: the side of a new prompt is a hash of its normalised text
alone, and a prompt that nearly equals earlier ones joins their side. Nothing that comes later is looked at. A
prompt that nearly equals earlier prompts of two sides would join them; it is held back and counted instead of
moving either. So appending rows moves no row; re-ordering rows may move near-duplicates, never unrelated prompts.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Unpack

from rewardsmith.blocks.html import render_facts
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import LoadReport, ReadOptions, iter_preferences
from rewardsmith.data.merging import hash_share
from rewardsmith.data.near import NearDuplicates, near_prompt_key
from rewardsmith.errors import ConfigError, DataError, require_known, require_place
from rewardsmith.files.progress import track
from rewardsmith.files.writing import check_free, write_json
from rewardsmith.records import Comparison, PreferenceGroup

HELD_BACK = "held_back"
# So rarely does a hash hold nothing out by chance; below it, the same hash has chosen these prompts before.
CHANCE = 1e-3
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
By = Literal["prompt", "source", "annotator", "time"]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How to split.

    Args:
        by: what stays together: each prompt, each source, each annotator (and each prompt), or all before a time.
        shares: side to its share; shares are scaled to sum to 1, and their order is part of the plan.
        seed: another seed gives another split.
        threshold: Jaccard similarity from which prompts are near-duplicates; 1 compares normalised text only.
        cutoff: for `by="time"`: the first ISO 8601 time that belongs to the last side.
    """

    by: By = "prompt"
    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 0.9, "test": 0.1})
    seed: int = 0
    threshold: float = 0.8
    cutoff: str | None = None

    def __post_init__(self) -> None:
        if self.by not in ("prompt", "source", "annotator", "time"):
            raise ConfigError(f"split by prompt, source, annotator or time, not {self.by!r}")
        if len(self.shares) < 2 or not all(share > 0 for share in self.shares.values()):
            raise ConfigError(f"a split needs two or more sides with shares above 0, not {dict(self.shares)}")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold must lie in (0, 1], not {self.threshold}")
        if self.by == "time" and (self.cutoff is None or len(self.shares) != 2):
            raise ConfigError("a split by time needs two sides and a cutoff such as 2024-06-01")


@dataclass(slots=True, repr=False)
class SplitReport:
    """Groups and comparisons per side, what was left out by reason, what the reading of files counted, and the seed."""

    groups: Counter[str] = field(default_factory=Counter)
    comparisons: Counter[str] = field(default_factory=Counter)
    held_back: Counter[str] = field(default_factory=Counter)
    read: LoadReport = field(default_factory=LoadReport)
    seed: int = 0

    def __repr__(self) -> str:
        return f"<split: {', '.join(self._sides())}>"

    def _repr_html_(self) -> str:
        lines = [*self._sides(), *(f"held back: {n} ({reason})" for reason, n in self.held_back.items())]
        return render_facts(dict(line.split(": ", 1) for line in [*lines, f"read: {self.read}"]))

    def _sides(self) -> list[str]:
        return [f"{side}: {self.groups[side]} groups, {self.comparisons[side]} comparisons" for side in self.groups]


class SplitOptions(ReadOptions, total=False):
    """The fields of a plan beside how data are read, as the flags of `rewardsmith data split` name them."""

    by: By
    shares: Mapping[str, float]
    seed: int
    threshold: float
    cutoff: str | None


def split(
    data: object,
    out: str | Path,
    plan: SplitPlan | None = None,
    *,
    suffix: str = ".jsonl",
    overwrite: bool = False,
    **options: Unpack[SplitOptions],
) -> SplitReport:
    """Write the sides of a split as files, and `split.json` with all that is needed to do it again.

    Args:
        data: what `load_preferences` takes; files are read and written group by group.
        out: folder; one file a side, and `held_back` for comparisons that would join two sides.
        plan: how to split; or its fields among the options: by, shares, seed, threshold, cutoff.
        suffix: ".jsonl", ".jsonl.gz", ".jsonl.zst" or ".parquet".
        options: also those of `load_preferences`.

    Raises:
        ConfigError: a file of that name is there already.
        DataError: rows that cannot be read.

    Example:
        `split("pairs.jsonl", "split", shares={"train": 0.8, "test": 0.2})`
    """
    require_known("split()", options, SplitOptions.__annotations__)
    given: dict[str, Any] = {name: value for name, value in options.items() if name in SplitPlan.__dataclass_fields__}
    load_options: dict[str, Any] = {name: value for name, value in options.items() if name not in given}
    if given and plan is not None:
        raise ConfigError(f"{', '.join(given)}: how to split is said in plan; give one of them")
    if suffix not in SUFFIXES:
        raise ConfigError(f"suffix {suffix!r} is none of {', '.join(SUFFIXES)}")
    plan, out, report = plan or SplitPlan(**given), Path(require_place(out, "out")), SplitReport()
    names = [*plan.shares, HELD_BACK]
    for name in (*(f"{side}{suffix}" for side in names), "split.json"):
        check_free(out / name, overwrite)
    groups = track(iter_preferences(data, report=report.read, **load_options), "split")
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(open_groups(out / f"{name}{suffix}")) for name in names}
        for side, group in split_groups(groups, plan, report):
            writers[side or HELD_BACK](group)
    if not report.held_back:
        (out / f"{HELD_BACK}{suffix}").unlink()
    write_json(out / "split.json", _describe(plan, report))
    return report


def _describe(plan: SplitPlan, report: SplitReport) -> dict[str, object]:
    """Return what split.json says: enough to do the same again."""
    return {
        "by": plan.by,
        "shares": dict(plan.shares),
        "seed": plan.seed,
        "threshold": plan.threshold,
        "cutoff": plan.cutoff,
        "rows_read": report.read.rows,
        "rows_dropped": dict(report.read.dropped),
        "groups": dict(report.groups),
        "comparisons": dict(report.comparisons),
        "held_back": dict(report.held_back),
    }


def split_groups(
    groups: Iterable[PreferenceGroup], plan: SplitPlan, report: SplitReport | None = None
) -> Iterator[tuple[str | None, PreferenceGroup]]:
    """Yield (side, group) in the order of the input; the side is None for what is held back.

    A group that belongs to one side with some of its comparisons only is given twice: once with those, once, held
    back, with the others. Memory holds the prompts, not the completions.

    Raises:
        DataError: what to split by is not known for a group.
    """
    report = SplitReport() if report is None else report
    index = NearDuplicates(plan.threshold)
    for number, group in enumerate(groups):
        side, reason = _place(near_prompt_key(group), _wanted_side(group, plan, number), plan, index)
        for placed, part in _parts(group, side, plan):
            if placed is None:
                # A group without a comparison counts as one.
                report.held_back[reason or f"{plan.by} of the other side"] += max(1, len(part.comparisons))
            else:
                report.groups[placed] += 1
                report.comparisons[placed] += len(part.comparisons)
            yield placed, part


def hold_out(
    groups: Iterable[PreferenceGroup], share: float, seed: int = 0
) -> tuple[list[PreferenceGroup], list[PreferenceGroup], SplitReport]:
    """Return (train, held out, report): a share of the prompts held out by the rules of `split_groups`.

    Prompts that nearly equal prompts of both sides are in neither; the report counts them. Of the train side of a split
    by the same hash nothing would be left to hold out: there the next seed chooses, and the report names it.

    Raises:
        ConfigError: `share` lies outside (0, 1).
    """
    if not 0 < share < 1:
        raise ConfigError(f"test_split_size must lie in (0, 1), or be 0 to hold nothing out; not {share}")
    rows = list(groups)
    train, held_out, report = _hold_out(rows, share, seed)
    if not held_out and (1 - share) ** len(rows) < CHANCE:
        train, held_out, report = _hold_out(rows, share, seed + 1)
    return train, held_out, report


def _hold_out(
    groups: Iterable[PreferenceGroup], share: float, seed: int
) -> tuple[list[PreferenceGroup], list[PreferenceGroup], SplitReport]:
    report = SplitReport(seed=seed)
    sides: dict[str | None, list[PreferenceGroup]] = {"train": [], "test": [], None: []}
    for side, group in split_groups(groups, SplitPlan(shares={"train": 1 - share, "test": share}, seed=seed), report):
        sides[side].append(group)
    return sides["train"], sides["test"], report


def side_of(text: str, plan: SplitPlan) -> str:
    """Choose a side by the hash of a text."""
    place = hash_share(text, plan.seed) * sum(plan.shares.values())
    for side, share in plan.shares.items():
        place -= share
        if place < 0:
            return side
    # Rounding may leave a rest behind the last side.
    return list(plan.shares)[-1]


def _wanted_side(group: PreferenceGroup, plan: SplitPlan, number: int) -> str | None:
    """Return the side that source or time demand; None where the prompt decides."""
    where = group.group_id or f"group {number}"
    if plan.by == "source":
        if group.source is None:
            raise DataError(f"{where}: has no source, so it cannot be split by source; split by prompt")
        return side_of(f"source:{group.source}", plan)
    if plan.by == "time":
        times = [comparison.time for comparison in group.comparisons if comparison.time]
        if not times:
            raise DataError(f"{where}: has no comparison with a time, so it cannot be split by time; split by prompt")
        # The earliest judgement decides; later ones that belong to the other side are held back.
        return _time_side(min(times), plan)
    if plan.by == "annotator" and not any(comparison.annotator for comparison in group.comparisons):
        raise DataError(f"{where}: has no annotator, so it cannot be split by annotator; split by prompt")
    return None


def _time_side(time: str, plan: SplitPlan) -> str:
    first, last = plan.shares
    # Times of ISO 8601 sort as text.
    return last if time >= str(plan.cutoff) else first


def _place(text: str, wanted: str | None, plan: SplitPlan, index: NearDuplicates) -> tuple[str | None, str | None]:
    """Return the side of a prompt, or None with the reason why it is held back."""
    found = index.labels(text)
    if len(found) > 1:
        return None, "nearly equals prompts of two sides"
    side = next(iter(found), None) or wanted or side_of(text, plan)
    if wanted is not None and side != wanted:
        return None, "its prompt is on the other side"
    if text not in index.exact:
        index.add(text, side, exactly=plan.threshold == 1)
    return side, None


def _parts(group: PreferenceGroup, side: str | None, plan: SplitPlan) -> Iterator[tuple[str | None, PreferenceGroup]]:
    """Divide a group where single comparisons belong to another side: other annotators, or later judgements."""
    if side is None or plan.by not in ("annotator", "time"):
        yield side, group
        return

    def belongs(comparison: Comparison) -> bool:
        if plan.by == "time":
            return comparison.time is None or _time_side(comparison.time, plan) == side
        return side_of(f"annotator:{comparison.annotator}", plan) == side

    inside = tuple(comparison for comparison in group.comparisons if belongs(comparison))
    outside = tuple(comparison for comparison in group.comparisons if not belongs(comparison))
    if inside:
        yield side, replace(group, comparisons=inside) if outside else group
    if outside:
        yield None, replace(group, comparisons=outside)


def parse_shares(text: str) -> dict[str, float]:
    """Read "train=0.9,test=0.1". Raises ConfigError with the accepted form."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise ConfigError(f"shares are given as train=0.9,test=0.1; {part!r} is not of that form") from error
        if not name.isidentifier() or name == HELD_BACK or not math.isfinite(shares[name]):
            raise ConfigError(f"{part!r} is no side of a split; give a plain name and a finite share")
    return shares
