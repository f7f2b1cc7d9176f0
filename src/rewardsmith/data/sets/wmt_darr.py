"""WMT metrics task, daRR (Ma et al. 2019): better and worse translations of one source."""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError
from rewardsmith.records import Comparison, PreferenceGroup

LANGUAGES = {"cs": "Czech", "de": "German", "en": "English", "fi": "Finnish", "gu": "Gujarati", "kk": "Kazakh"}
LANGUAGES |= {"lt": "Lithuanian", "ru": "Russian", "zh": "Chinese", "fr": "French"}


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row; merging by source makes the graph of all translations."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    source = check_prompt(require(row, "source", where), where, "source")
    better, worse = (check_text(require(row, name, where), where, name) for name in ("better", "worse"))
    pair = file_stem(where)
    language = LANGUAGES.get(pair.partition("-")[2], "English")
    metadata = {"language_pair": pair} if pair else {}
    if row.get("reference") is not None:
        metadata["reference"] = row["reference"]
    systems = tuple(None if row.get(name) is None else str(row[name]) for name in ("better_system", "worse_system"))
    return PreferenceGroup(
        prompt=f"Translate into {language}: {source}\n",
        completions=(better, worse),
        comparisons=(Comparison(0, 1),),
        models=systems if any(systems) else (),
        group_id=where,
        metadata=metadata,
    )


ENTRY = Entry(
    name="wmt-darr",
    summary="WMT metrics task, relative ranks from direct assessment: many pairs of translations a source",
    licence="research",
    paper="https://aclanthology.org/W19-5302",
    hub_id=None,
    read=read,
    columns=frozenset({"source", "better", "worse"}),
    homepage="https://statmt.org/wmt19/metrics-task.html",
)
