"""From whatever a user passes as a data set to encoded groups, counted to the last row.

An encoded group is a plain dictionary, so that it can live in an Arrow table:
`ids` (K token-id lists), one entry a comparison of each of COLUMNS, and where ratings are learned `ratings` (K rows, a
number an attribute, NaN where nobody rated).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, Features, IterableDataset, List, Value, concatenate_datasets

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats.format import RATED
from rewardsmith.data.merging import MergedGroups, merge_groups
from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.models.long_texts import Cuttable, cuttable_ids, prompt_tokens_behind
from rewardsmith.models.rendering import Composed, Renderer
from rewardsmith.models.shared_prefix.packing import shared_prefix_length
from rewardsmith.models.templates import LOST_TEXT, SAME_TOKENS, count_lost_texts, count_same_tokens
from rewardsmith.models.tokenizer import keep_plain_template
from rewardsmith.records import PreferenceGroup, TokenIds
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.rated import is_rated, rating_rows, what_reads
from rewardsmith.training.streams import STREAMS, EncodedStream, as_stream

# Names of tokenised columns that trainers of earlier years read.
OLD_COLUMNS = {
    "chosen_ids": ("input_ids_chosen", "attention_mask_chosen"),
    "rejected_ids": ("input_ids_rejected", "attention_mask_rejected"),
}
COLUMNS = ("better", "worse", "is_tie", "margin", "weight", "probability", "tie_share")
FEATURES = Features(
    {
        "ids": List(List(Value("int32"))),
        "better": List(Value("int32")),
        "worse": List(Value("int32")),
        "is_tie": List(Value("bool")),
        "margin": List(Value("float32")),
        "weight": List(Value("float32")),
        "probability": List(Value("float32")),
        "tie_share": List(Value("float32")),
    }
)
RATINGS = {"ratings": List(List(Value("float32")))}
CHUNK = 10_000


@dataclass
class EncodingReport:
    """What became of the rows: groups and comparisons kept, and what was dropped or cut, by reason."""

    rows: int = 0
    groups: int = 0
    comparisons: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    # Reason to the first error of that kind, which names file and row; where rows are left out and not refused.
    first: dict[str, str] = field(default_factory=dict)
    unit: str = "comparisons"

    def clear(self) -> None:
        """Count from nothing again."""
        self.rows = self.groups = self.comparisons = 0
        self.dropped.clear()
        self.first.clear()

    def __str__(self) -> str:
        text = f"{self.rows} rows -> {self.groups} groups with {self.comparisons} {self.unit}"
        named = {reason: f" (first: {error})" for reason, error in self.first.items()}
        return text + "".join(f"; {reason}: {n}{named.get(reason, '')}" for reason, n in sorted(self.dropped.items()))


@dataclass(frozen=True)
class Encoder:
    """Turn groups into token ids within a maximum length.

    Args:
        renderer: renders and tokenises.
        max_length: longest sequence in tokens, or None.
        overflow: "drop" or "truncate_prompt".
        num_embeddings: how many tokens the model has; an id beyond them is an error.
        attributes: names of the ratings that are learned.
        compares: whether comparisons are learned from.
    """

    renderer: Renderer
    max_length: int | None = None
    overflow: str = "drop"
    num_embeddings: int | None = None
    attributes: tuple[str, ...] = ()
    compares: bool = True

    @property
    def features(self) -> Features:
        """The columns of an encoded group."""
        return Features({**FEATURES, **(RATINGS if self.attributes else {})})

    def encode_row(self, row: dict[str, Any], where: str) -> tuple[dict[str, Any] | None, Counter[str]]:
        """Parse and encode one row of any supported format. Raises DataError naming `where`."""
        return self.encode(read_row(row, where), where)

    def encode(self, group: PreferenceGroup, where: str = "group") -> tuple[dict[str, Any] | None, Counter[str]]:
        """Return the encoded group, or None when nothing of it can be kept, and what was dropped or cut."""
        if RATED in group.metadata and not self.attributes:
            raise DataError(
                f"{where}: one rated answer a row compares nothing; train on load_preferences(DATA), which joins"
            )
        ratings, noted = rating_rows(group, self.attributes, where) if self.attributes else ([], Counter())
        if not (self.compares and group.comparisons) and not is_rated(ratings):
            said = " or ".join(["a comparison"] * self.compares + ["a rating that is learned"] * bool(self.attributes))
            return None, Counter({f"rows without {said} dropped": 1})
        texts, found = self._write(group, where)
        ids = found.ids
        # Of what is too long to be tokenised nobody knows; it is dropped in any case.
        known = [[-1 - place] if long else ids[place] for place, long in enumerate(found.too_long)]
        # Counted before anything is cut: a cut prompt must not make up for an answer that the template lost.
        lost = count_lost_texts(group, [text.said for text in texts])
        counts = noted + Counter({SAME_TOKENS: count_same_tokens(group, known), LOST_TEXT: lost})
        if self.overflow == "truncate_prompt" and self.max_length is not None:
            ids = self._truncate_prompt(group, texts[0], found, counts)
        keep = [
            not long and (self.max_length is None or len(sequence) <= self.max_length)
            for sequence, long in zip(ids, found.too_long, strict=True)
        ]
        counts["completions longer than max_length dropped"] += keep.count(False)
        encoded = keep_completions(group, ids, keep)
        counts["comparisons dropped with them"] += len(group.comparisons) - len(encoded["better"])
        if self.attributes:
            encoded["ratings"] = [row for row, kept in zip(ratings, keep, strict=True) if kept]
        if not (self.compares and encoded["better"]) and not is_rated(encoded.get("ratings", ())):
            counts["rows dropped"] += 1
            return None, +counts
        return encoded, +counts

    def keep_template(self) -> None:
        """Give the tokenizer the built-in chat template where conversations were written with it."""
        if self.renderer.wrote_plainly:
            keep_plain_template(self.renderer.tokenizer)

    def _write(self, group: PreferenceGroup, where: str) -> tuple[list[Composed], Cuttable]:
        """Return the rendered texts and the ids of every completion, but of what is certainly too long."""
        try:
            texts = self.renderer.compose_all(group)
            if self.overflow == "truncate_prompt" and self.max_length is not None:
                found = cuttable_ids(self.renderer, texts, self.max_length)
            else:
                rows = self.renderer.bounded_ids(texts, self.max_length)
                found = Cuttable(0, [ids or [] for ids in rows], [ids is None for ids in rows])
        except ScoringError as error:
            raise DataError(f"{where}: {error}") from error
        if any(not ids and not long for ids, long in zip(found.ids, found.too_long, strict=True)):
            raise DataError(f"{where}: a completion has no tokens; remove the row or fill it")
        largest = max(max(ids, default=0) for ids in found.ids)
        if self.num_embeddings is not None and largest >= self.num_embeddings:
            raise DataError(
                f"{where}: token id {largest} is none of the model's {self.num_embeddings}; tokenise with the model's "
                "own tokenizer"
            )
        return texts, found

    def _truncate_prompt(
        self, group: PreferenceGroup, text: Composed, found: Cuttable, counts: Counter[str]
    ) -> list[list[int]]:
        """Cut the oldest prompt tokens of all sequences alike, so that the prefix stays shared; answers stay whole.

        The longest one that can fit says how many: one that does not fit without its prompt is dropped in any case.
        """
        ids, limit = found.ids, self.max_length or 0
        if not any(found.too_long) and max(map(len, ids)) <= limit:
            return ids
        room = shared_prefix_length([tuple(sequence) for sequence in ids])
        if isinstance(group.prompt, str) and group.prompt:
            room = min(room, prompt_tokens_behind(self.renderer.tokenizer, group.prompt, text, found.place))
        keep = int(ids[0][0] == self.renderer.tokenizer.bos_token_id)
        sizes = [len(sequence) for sequence, long in zip(ids, found.too_long, strict=True) if not long]
        cut = max([0, *(size - limit for size in sizes if size - max(0, room - keep) <= limit)])
        counts["prompts truncated"] += cut > 0
        return [sequence[:keep] + sequence[keep + cut :] for sequence in ids]


def read_row(row: Mapping[str, Any] | PreferenceGroup, where: str) -> PreferenceGroup:
    """Read one row of any supported format, the tokenised columns of earlier trainers included.

    Their attention mask says which ids are padding.
    """
    if isinstance(row, PreferenceGroup):
        return row
    if isinstance(row, Mapping) and all(old in row for old, _ in OLD_COLUMNS.values()):
        row = dict(row)
        for name, (old, mask) in OLD_COLUMNS.items():
            ids, kept = row.pop(old), row.pop(mask, None)
            row[name] = ids if kept is None else [token for token, keep in zip(ids, kept, strict=True) if keep]
    return parse_row(row, where)


def keep_completions(group: PreferenceGroup, ids: list[list[int]], keep: list[bool]) -> dict[str, Any]:
    """Build the plain dictionary of the completions that are kept."""
    place = {old: new for new, old in enumerate(i for i, kept in enumerate(keep) if kept)}
    edges = [c for c in group.comparisons if c.better in place and c.worse in place]
    return {
        "ids": [ids[i] for i in place],
        "better": [place[c.better] for c in edges],
        "worse": [place[c.worse] for c in edges],
        "is_tie": [c.is_tie for c in edges],
        "margin": [0.0 if c.margin is None else float(c.margin) for c in edges],
        "weight": [float(c.weight) for c in edges],
        "probability": [(0.5 if c.is_tie else 1.0) if c.probability is None else float(c.probability) for c in edges],
        "tie_share": [c.tie_votes for c in edges],
    }


def encode_groups(
    groups: Iterable[tuple[str, PreferenceGroup]], encoder: Encoder, report: EncodingReport
) -> Iterator[dict[str, Any]]:
    """Encode `(where, group)` items lazily and count what happens to them in `report`."""
    for where, group in groups:
        encoded, counts = encoder.encode(group, where)
        report.dropped += counts
        if encoded is not None:
            report.groups += 1
            report.comparisons += len(encoded["better"])
            yield encoded


def encode_dataset(
    dataset: Any, encoder: Encoder, name: str, *, merge_prompts: bool = False, num_proc: int | None = None
) -> tuple[Dataset | EncodedStream, EncodingReport]:
    """Encode a data set; rows stay in order unless `merge_prompts` makes one group of a prompt's rows.

    Args:
        dataset: a `Dataset`, a stream (`IterableDataset`), or a sequence of rows or of PreferenceGroups.
        name: stands in messages ("train", "eval").

    Raises:
        DataError: nothing is left to train on; the message gives the counts by reason.
    """
    report = EncodingReport()
    if isinstance(dataset, EncodedStream):
        return dataset, dataset.report
    if is_encoded(dataset, encoder.features):
        if isinstance(dataset, Dataset):
            return dataset, report
        return EncodedStream(as_stream(dataset, name), None, name, report), report
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset))
        raise DataError(f"{name}: the data set holds the splits {splits}; pass one of them, as in dataset['train']")
    if isinstance(dataset, STREAMS):
        if merge_prompts:
            raise DataError(f"{name}: merge_prompts needs all rows at hand; switch it off for a streamed data set")
        return EncodedStream(as_stream(dataset, name), encoder, name, report), report
    if len(dataset) == 0:
        raise DataError(f"{name}: the data set is empty; give at least one row")
    if isinstance(dataset, Dataset) and not merge_prompts:
        encoded = _map(dataset, encoder, name, report, num_proc)
    else:
        groups = _groups(dataset, name)
        if merge_prompts:
            merged = dataset if isinstance(dataset, MergedGroups) else merge_groups(group for _, group in groups)
            groups = ((place_of(f"{name} group {i}", group), group) for i, group in enumerate(merged))
        report.rows = len(dataset)
        encoded = _collect(encode_groups(groups, encoder, report), encoder.features)
    _keep_template(dataset[0], encoder.renderer)
    if len(encoded) == 0:
        reads = None if encoder.attributes else what_reads(dataset)
        remedy = reads or "raise max_length or set overflow='truncate_prompt'"
        raise DataError(f"{name}: no rows are left ({report}); {remedy}")
    return encoded, report


def _keep_template(first_row: Mapping[str, Any] | PreferenceGroup, renderer: Renderer) -> None:
    """Give a tokenizer without a chat template the built-in one where conversations were written with it.

    Other processes may have tokenised, so the first row says it as well.
    """
    if not renderer.tokenizer.chat_template:
        group = read_row(first_row, "row 0")
        texts = all(isinstance(part, str | TokenIds) for part in (group.prompt, *group.completions))
        if renderer.wrote_plainly or not texts:
            keep_plain_template(renderer.tokenizer)


def _groups(rows: Iterable[Any], name: str) -> Iterator[tuple[str, PreferenceGroup]]:
    for index, row in enumerate(rows):
        where = f"{name} row {index}"
        group = read_row(row, where)
        yield (place_of(where, group) if group is row else where), group


def place_of(where: str, group: PreferenceGroup) -> str:
    """Name the row of a file that a group came from, or else its number, and the beginning of its prompt."""
    where = group.where or where
    text = group.prompt if isinstance(group.prompt, str) or not group.prompt else str(group.prompt[-1].content)
    return f"{where} (prompt {text[:60]!r})" if text else where


def _map(dataset: Dataset, encoder: Encoder, name: str, report: EncodingReport, num_proc: int | None) -> Dataset:
    """Encode row by row with `Dataset.map`; a column carries what was dropped, so that processes can count."""

    def encode(row: dict[str, Any], index: int) -> dict[str, Any]:
        encoded, counts = encoder.encode_row(row, f"{name} row {index}")
        return {**(encoded or _empty(encoder.features)), "dropped": json.dumps(counts)}

    mapped = dataset.map(
        encode,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=Features({**encoder.features, "dropped": Value("string")}),
        num_proc=num_proc,
        desc=f"Tokenising {name}",
    )
    for text, count in Counter(mapped["dropped"]).items():
        report.dropped += Counter({reason: n * count for reason, n in json.loads(text).items()})
    report.rows = len(mapped)
    report.comparisons = sum(map(len, mapped["better"]))
    # A group that is kept has a comparison, or a row of ratings for every answer.
    kept = [index for index, held in enumerate(mapped["ratings" if encoder.attributes else "better"]) if held]
    report.groups = len(kept)
    mapped = mapped.remove_columns("dropped")
    return mapped if len(kept) == len(mapped) else mapped.select(kept)


def _collect(encoded: Iterator[dict[str, Any]], features: Features) -> Dataset:
    """Gather encoded groups into an Arrow table, a chunk at a time."""
    parts: list[Dataset] = []
    while chunk := list(islice(encoded, CHUNK)):
        parts.append(Dataset.from_list(chunk, features=features))
    return concatenate_datasets(parts) if parts else Dataset.from_dict(_empty(features), features=features)


def _empty(features: Features) -> dict[str, Any]:
    return {column: [] for column in features}


def drawn(dataset: Any, args: RewardConfig) -> Any:
    """Return the rows that `bootstrap_prompts` draws, with replacement and by the order's seed; else all of them.

    Raises:
        ConfigError: rows of a stream, which cannot be drawn twice.
    """
    if not args.bootstrap_prompts:
        return dataset
    if not isinstance(dataset, Dataset):
        raise ConfigError("bootstrap_prompts draws rows again, and a stream is read once; leave it out")
    places = np.random.default_rng(args.order_seed).integers(len(dataset), size=len(dataset))
    return dataset.select(np.sort(places))


def token_costs(dataset: Dataset, cost: Callable[[Sequence[Sequence[int]]], int]) -> list[int]:
    """Return what every group costs in tokens, by the forward plan's own count."""
    return [cost(ids) for ids in dataset["ids"]]


def fingerprint_sequences(dataset: object) -> Iterator[str]:
    """Yield a string per row, for the contract's data fingerprint; nothing for a stream."""
    if isinstance(dataset, Dataset):
        names = ["ids"] if "ids" in dataset.column_names else ["chosen_ids", "rejected_ids"]
        for row in dataset.select_columns(names):
            yield json.dumps(row["ids"] if len(names) == 1 else [row[name] for name in names])


def is_encoded(dataset: object, columns: Iterable[str]) -> bool:
    """Whether a data set or a stream holds these columns already."""
    return isinstance(dataset, Dataset | IterableDataset) and set(columns) <= set(dataset.column_names or ())


def encode_pairs(dataset: Any, encoder: Encoder, name: str) -> Dataset | IterableDataset:
    """Return rows for a collator of TRL's form: `chosen_ids`, `rejected_ids`, and the other columns of the row.

    One row a comparison; a stream stays one, however long it is.

    Raises:
        DataError: nothing is left to train on.
    """
    if is_encoded(dataset, ("chosen_ids", "rejected_ids")):
        return dataset
    if isinstance(dataset, IterableDataset):
        return IterableDataset.from_generator(lambda: _pair_rows(dataset, encoder, name))
    rows = list(_pair_rows(dataset, encoder, name))
    if not rows:
        raise DataError(f"{name}: no rows are left; raise max_length or set overflow='truncate_prompt'")
    encoder.keep_template()
    return Dataset.from_list(rows)


def _pair_rows(dataset: Iterable[Any], encoder: Encoder, name: str) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(dataset):
        group, _ = encoder.encode_row(row, f"{name} row {index}")
        others = dict(row) if isinstance(row, Mapping) else {}
        for better, worse, margin in (
            zip(*(group[key] for key in ("better", "worse", "margin")), strict=True) if group else ()
        ):
            given = {} if "margin" not in others else {"margin": margin}
            yield {**others, "chosen_ids": group["ids"][better], "rejected_ids": group["ids"][worse], **given}  # type: ignore[index]
