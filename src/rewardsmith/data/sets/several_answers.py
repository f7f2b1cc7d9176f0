"""Sets in which the answers to one prompt are compared many times over.

DSP, domain-specific preferences (Cheng et al. 2023, arXiv 2309.03126): one answer in the style of each domain. Each is
by construction the preferred one in its own domain, and that is its score there: 1 in its domain, 0 in the others. The
domains contradict each other, so comparisons are made only for the domain that is named, as in "dsp:academy"; without
one the group holds ratings alone.

FineGrainedRLHF (Wu et al. 2023, arXiv 2306.01693): four answers to a question, all six pairs judged.

UKPConvArg1 (Habernal and Gurevych 2016, P16-1150): which of two arguments for one stance convinces more. Tab-separated
files `#id, label, a1, a2` whose name is the topic and the stance: "topic-in-words_stance-in-words". All pairs of one
file share the prompt, so merging gives one graph a stance. A file named otherwise has no prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.formats.trainers import dialogue_of
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

DOMAINS = ("academy", "business", "entertainment", "literature", "normal")


def read_dsp(rows: Rows, domain: str | None = None) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a query, with a rating a domain; `domain` prefers its answer to all others."""
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


DSP = Entry(
    name="dsp",
    summary="DSP: five answers, each in the style of one domain; ratings per domain, comparisons for a named one",
    licence="CC-BY-NC-4.0",
    paper="2309.03126",
    hub_id=None,
    read=read_dsp,
    columns=frozenset({"query", "responses"}),
    homepage="https://github.com/Linear95/DSP",
    files=("domain_specific_preference*",),
    labels="AI",
    variants={domain: partial(read_dsp, domain=domain) for domain in DOMAINS},
)


PAIRS = tuple(combinations(range(4), 2))
ANSWERS = tuple(f"prediction {number}" for number in range(1, 5))


def read_finegrained_rlhf(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a question; `preference` lists 1v2, 1v3, 1v4, 2v3, 2v4, 3v4 as 0 tie, 1 first, 2 second."""
    return read_each(rows, _read_question)


def _read_question(row: Row, where: str) -> PreferenceGroup:
    outcomes = check_list(require(row, "preference", where), where, "preference")
    if len(outcomes) != len(PAIRS) or not all(outcome in (0, 1, 2) for outcome in outcomes):
        raise row_error(where, "wrong outcome", f"preference must be six numbers of 0, 1 and 2, not {outcomes!r}")
    passages = "\n".join(
        " ".join(map(str, check_list(passage, where, "passages")))
        for passage in check_list(require(row, "passages", where), where, "passages")
    )
    question = check_prompt(require(row, "question", where), where, "question")
    return PreferenceGroup(
        prompt=f"{passages}\n\n{question}\n\n",
        completions=tuple(check_text(require(row, name, where), where, name, empty=True) for name in ANSWERS),
        comparisons=tuple(_comparison(i, j, outcome) for (i, j), outcome in zip(PAIRS, outcomes, strict=True)),
        group_id=where,
        metadata={name: row[name] for name in ("gold", "feedback") if row.get(name) is not None},
    )


def _comparison(first: int, second: int, outcome: int) -> Comparison:
    if outcome == 0:
        return Comparison(first, second, "tie")
    return Comparison(first, second) if outcome == 1 else Comparison(second, first)


FINEGRAINED_RLHF = Entry(
    name="finegrained-rlhf",
    summary="FineGrainedRLHF: four long answers with their passages, all six pairs judged, ties",
    licence="Apache-2.0",
    paper="2306.01693",
    hub_id=None,
    read=read_finegrained_rlhf,
    columns=frozenset({"question", "passages", "preference", *ANSWERS}),
    homepage="https://github.com/allenai/FineGrainedRLHF",
    files=("*_feedback.json",),
)


LABELS = {"a1": (0, 1), "a2": (1, 0)}


def read_ukp_convarg(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a pair of arguments."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    label = str(require(row, "label", where))
    if label == "equal":
        comparison = Comparison(0, 1, "tie")
    elif label in LABELS:
        comparison = Comparison(*LABELS[label])
    else:
        raise row_error(where, "unknown label", f"column 'label' is {describe(label)}; accepted: a1, a2, equal")
    topic, _, stance = (part.replace("-", " ").strip() for part in file_stem(where).partition("_"))
    return PreferenceGroup(
        prompt=f"Topic: {topic}\nStance: {stance}\nArgue for this stance.\n\n" if stance else "",
        completions=tuple(check_text(require(row, name, where), where, name) for name in ("a1", "a2")),
        comparisons=(comparison,),
        group_id=str(require(row, "#id", where)),
        metadata={"topic": topic, "stance": stance} if stance else {},
    )


UKP_CONVARG = Entry(
    name="ukp-convarg1",
    summary="UKPConvArg1: the more convincing of two arguments for one stance, many pairs a stance",
    licence="CC-BY-4.0",
    paper="https://aclanthology.org/P16-1150",
    hub_id=None,
    read=read_ukp_convarg,
    columns=frozenset({"#id", "label", "a1", "a2"}),
    homepage="https://github.com/UKPLab/acl2016-convincing-arguments",
    suffixes=(".csv",),
)


ENTRIES = (DSP, FINEGRAINED_RLHF, UKP_CONVARG)
