"""DSP, domain-specific preferences (Cheng et al. 2023, arXiv 2309.03126): one answer in the style of each domain.

Each answer is by construction the preferred one in its own domain, and that is its score there: 1 in its domain, 0 in
the others. The domains contradict each other, so comparisons are made only for the domain that is named, as in
"dsp:academy"; without one the group holds ratings alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rewardsmith.data.formats.cells import check_mapping, check_text, require
from rewardsmith.data.formats.trl import dialogue_of
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, PreferenceGroup

DOMAINS = ("academy", "business", "entertainment", "literature", "normal")


def read(rows: Rows, domain: str | None = None) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a query, with a rating a domain; `domain` prefers its answer to all others."""
    return read_each(rows, partial(_read_query, domain=domain))


def _read_query(row: Row, where: str, domain: str | None) -> PreferenceGroup:
    responses = check_mapping(require(row, "responses", where), where, "responses")
    names = list(responses)
    if domain is not None and domain not in names:
        raise row_error(where, "no answer of the domain", f"'responses' has {', '.join(names)}, not {domain!r}")
    answers = [check_text(responses[name], where, f"responses.{name}", empty=True) for name in names]
    prompt, completions = dialogue_of(check_prompt(require(row, "query", where), where, "query"), answers)
    best = names.index(domain) if domain is not None else None
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=() if best is None else tuple(Comparison(best, i) for i in range(len(names)) if i != best),
        ratings={name: tuple(float(other == name) for other in names) for name in names},
        models=tuple(names),
        group_id=where,
    )


ENTRY = Entry(
    name="dsp",
    summary="DSP: five answers, each in the style of one domain; ratings per domain, comparisons for a named one",
    licence="CC-BY-NC-4.0",
    paper="2309.03126",
    hub_id=None,
    read=read,
    columns=frozenset({"query", "responses"}),
    homepage="https://github.com/Linear95/DSP",
    files=("domain_specific_preference*",),
    labels="AI",
    variants={domain: partial(read, domain=domain) for domain in DOMAINS},
)
