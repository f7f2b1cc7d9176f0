"""WMT 2019 metrics task, daRR (Ma et al. 2019): better and worse translations of one source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rewardsmith.errors import DataError
from rewardsmith.preferences.files import read_rows
from rewardsmith.records import Comparison, PreferenceGroup


def read(path: Path) -> Iterator[PreferenceGroup]:
    """Give one group a row; merging by source makes the graph of all translations."""
    for where, row in read_rows(path):
        source, better, worse = (row.get(name) for name in ("source", "better", "worse"))
        if not (isinstance(source, str) and isinstance(better, str) and isinstance(worse, str)):
            raise DataError(f"{where}: source, better and worse must be texts")
        same = better == worse
        systems = (row.get("better_system"), row.get("worse_system"))
        yield PreferenceGroup(
            prompt=f"Translate into English: {source}\n",
            completions=(better,) if same else (better, worse),
            comparisons=(Comparison(0, 0 if same else 1),),
            models=systems[:1] if same else systems,
            source="wmt-darr",
            group_id=where,
            metadata={"language_pair": path.stem},
        )
