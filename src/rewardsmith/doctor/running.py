"""How checks are run; nothing here needs torch, so data alone is looked at in a second.

A check is a function that takes a `Subject` (or, for data alone, a `Reading`) and gives a finding, several, or None
where it does not apply. It stands in the list at the end of its file; nothing else has to know it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from rewardsmith.data.checks.inspection import Inspection
from rewardsmith.data.loading import LoadReport
from rewardsmith.findings import Finding

Looked = TypeVar("Looked")
Item = TypeVar("Item")
Found = Finding | Iterable[Finding] | None
# Wraps what takes long, for a progress bar: items and what is done with them.
Watch = Callable[[Iterable[Item], str], Iterable[Item]]


def unwatched(items: Iterable[Item], label: str) -> Iterable[Item]:
    """Return the items as they are."""
    return items


@dataclass(frozen=True, slots=True)
class Examination:
    """How to examine.

    Args:
        max_length: of the training run; None takes the contract's, then 1024.
        reading: arguments of `iter_preferences` for the data.
        trust_remote_code: allow models that bring Python code.
        device: where the model is loaded; None is the CPU.
        dtype: None keeps the precision of the file.
        watch: wraps what takes long, for a progress bar.
    """

    max_length: int | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    device: str | None = None
    dtype: str | None = None
    watch: Watch[Any] = unwatched


class Reading(NamedTuple):
    """Preference data that were read once: what was left out, and what one pass counted."""

    report: LoadReport
    found: Inspection


def run_checks(checks: Sequence[Callable[[Looked], Found]], looked_at: Looked) -> Iterator[Finding]:
    """Run checks one after the other; one that fails is a finding and never costs the others."""
    for check in checks:
        try:
            found = check(looked_at)
            if found is not None:
                yield from (found,) if isinstance(found, Finding) else found
        # The one boundary: a fault nobody foresaw in one check must not lose what the others found.
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            message = f"this check could not be done: {type(error).__name__}: {one_line(error)}"
            yield Finding("yellow", name, message, "mend what the other findings name, and look again")


def one_line(error: object, limit: int = 160) -> str:
    """Return an error as one short line."""
    return " ".join(str(error).split())[:limit]
