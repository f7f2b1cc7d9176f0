"""From whatever a user passes as a data set to a data set of encoded groups."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from datasets import Dataset, Features, IterableDataset, List, Value, concatenate_datasets

from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.encoding import Encoder, EncodingReport, encode_groups, read_row

logger = logging.getLogger(__name__)

FEATURES = Features(
    {
        "ids": List(List(Value("int32"))),
        "better": List(Value("int32")),
        "worse": List(Value("int32")),
        "is_tie": List(Value("bool")),
        "margin": List(Value("float32")),
        "weight": List(Value("float32")),
        "probability": List(Value("float32")),
    }
)
CHUNK = 10_000


def prepare_dataset(
    dataset: Any, encoder: Encoder, name: str, *, merge_prompts: bool = False, num_proc: int | None = None
) -> tuple[Dataset | IterableDataset, EncodingReport]:
    """Encode a data set; rows stay in order unless `merge_prompts` makes one group of a prompt's rows.

    Args:
        dataset: a `Dataset`, an `IterableDataset`, or a sequence of rows or of PreferenceGroups.
        name: stands in messages ("train", "eval").

    Raises:
        DataError: nothing is left to train on; the message gives the counts by reason.
    """
    report = EncodingReport()
    if isinstance(dataset, Dataset) and set(FEATURES) <= set(dataset.column_names):
        return dataset, report
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset))
        raise DataError(f"{name}: the data set holds the splits {splits}; pass one of them, as in dataset['train']")
    if isinstance(dataset, IterableDataset):
        if merge_prompts:
            raise DataError(f"{name}: merge_prompts needs all rows at hand; switch it off for a streamed data set")
        return _stream(dataset, encoder, name, report), report
    if len(dataset) == 0:
        raise DataError(f"{name}: the data set is empty; give at least one row")
    if isinstance(dataset, Dataset) and not merge_prompts:
        encoded = _map(dataset, encoder, name, report, num_proc)
    else:
        groups = _groups(dataset, name)
        if merge_prompts:
            merged = merge_groups(group for _, group in groups)
            groups = ((_place(f"{name} group {i}", group), group) for i, group in enumerate(merged))
        report.rows = len(dataset)
        encoded = _collect(encode_groups(groups, encoder, report))
    if len(encoded) == 0:
        raise DataError(f"{name}: no rows are left ({report}); raise max_length or set overflow='truncate_prompt'")
    return encoded, report


def _groups(rows: Iterable[Any], name: str) -> Iterator[tuple[str, PreferenceGroup]]:
    for index, row in enumerate(rows):
        where = f"{name} row {index}"
        group = read_row(row, where)
        yield (_place(where, group) if group is row else where), group


def _place(where: str, group: PreferenceGroup) -> str:
    """Add the beginning of the prompt: a group's number says nothing about the row of a file that it came from."""
    text = group.prompt if isinstance(group.prompt, str) or not group.prompt else str(group.prompt[-1].content)
    return f"{where} (prompt {text[:60]!r})" if text else where


def _map(dataset: Dataset, encoder: Encoder, name: str, report: EncodingReport, num_proc: int | None) -> Dataset:
    """Encode row by row with `Dataset.map`; a column carries what was dropped, so that processes can count."""

    def encode(row: dict[str, Any], index: int) -> dict[str, Any]:
        encoded, counts = encoder.encode_row(row, f"{name} row {index}")
        return {**(encoded or _empty()), "dropped": json.dumps(counts)}

    mapped = dataset.map(
        encode,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({**FEATURES, "dropped": Value("string")}),
        num_proc=num_proc,
        desc=f"Tokenising {name}",
    )
    for text, count in Counter(mapped["dropped"]).items():
        report.dropped += Counter({reason: n * count for reason, n in json.loads(text).items()})
    report.rows = len(mapped)
    sizes = [len(better) for better in mapped["better"]]
    report.comparisons = sum(sizes)
    kept = [index for index, size in enumerate(sizes) if size]
    report.groups = len(kept)
    mapped = mapped.remove_columns("dropped")
    return mapped if len(kept) == len(mapped) else mapped.select(kept)


def _stream(dataset: IterableDataset, encoder: Encoder, name: str, report: EncodingReport) -> IterableDataset:
    def rows() -> Iterator[dict[str, Any]]:
        yield from encode_groups(_groups(dataset, name), encoder, report)

    return IterableDataset.from_generator(rows, features=FEATURES)


def _collect(encoded: Iterator[dict[str, Any]]) -> Dataset:
    """Gather encoded groups into an Arrow table, a chunk at a time."""
    parts: list[Dataset] = []
    while chunk := list(islice(encoded, CHUNK)):
        parts.append(Dataset.from_list(chunk, features=FEATURES))
    return concatenate_datasets(parts) if parts else Dataset.from_dict(_empty(), features=FEATURES)


def _empty() -> dict[str, Any]:
    return {column: [] for column in FEATURES}


def token_costs(dataset: Dataset, cost: Any) -> list[int]:
    """Give what every group costs in tokens, by the forward plan's own count."""
    return [cost(ids) for ids in dataset["ids"]]


def fingerprint_sequences(dataset: Dataset | Sequence[Any]) -> list[str]:
    """Give a string per group for the data fingerprint; empty for a stream."""
    return [json.dumps(ids) for ids in dataset["ids"]] if isinstance(dataset, Dataset) else []
