"""From rows and preference groups to token ids and comparisons, counted to the last row.

An encoded group is a plain dictionary, so that it can live in an Arrow table:
`ids` (K token-id lists), `better`, `worse`, `is_tie`, `margin`, `weight`, `probability` (one entry a comparison).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.data.rows import parse_row
from rewardsmith.errors import DataError, ScoringError
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.grouping import shared_prefix_length
from rewardsmith.records import PreferenceGroup, TokenIds

# Names of tokenised columns that trainers of earlier years read.
OLD_COLUMNS = {
    "chosen_ids": ("input_ids_chosen", "attention_mask_chosen"),
    "rejected_ids": ("input_ids_rejected", "attention_mask_rejected"),
}
COLUMNS = ("better", "worse", "is_tie", "margin", "weight", "probability")


@dataclass
class EncodingReport:
    """What became of the rows: groups and comparisons kept, and what was dropped or cut, by reason."""

    rows: int = 0
    groups: int = 0
    comparisons: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        text = f"{self.rows} rows -> {self.groups} groups with {self.comparisons} comparisons"
        return text + "".join(f"; {reason}: {count}" for reason, count in sorted(self.dropped.items()))


@dataclass(frozen=True)
class Encoder:
    """Turn groups into token ids within a maximum length.

    Args:
        renderer: renders and tokenises.
        max_length: longest sequence in tokens, or None.
        overflow: "drop" or "truncate_prompt".
        num_embeddings: how many tokens the model has; an id beyond them is an error.
    """

    renderer: Renderer
    max_length: int | None = None
    overflow: str = "drop"
    num_embeddings: int | None = None

    def encode_row(self, row: dict[str, Any], where: str) -> tuple[dict[str, Any] | None, Counter[str]]:
        """Parse and encode one row of any supported format. Raises DataError naming `where`."""
        return self.encode(read_row(row, where), where)

    def encode(self, group: PreferenceGroup, where: str = "group") -> tuple[dict[str, Any] | None, Counter[str]]:
        """Give the encoded group, or None when nothing of it can be kept, and what was dropped or cut."""
        if not group.comparisons:
            return None, Counter({"rows without a comparison dropped": 1})
        ids = self._ids(group, where)
        counts: Counter[str] = Counter()
        if self.overflow == "truncate_prompt":
            ids = self._truncate_prompt(group, ids, counts)
        keep = [self.max_length is None or len(sequence) <= self.max_length for sequence in ids]
        counts["completions longer than max_length dropped"] += keep.count(False)
        encoded = _encoded(group, ids, keep)
        counts["comparisons dropped with them"] += len(group.comparisons) - len(encoded["better"])
        if not encoded["better"]:
            counts["rows dropped"] += 1
            return None, +counts
        return encoded, +counts

    def _ids(self, group: PreferenceGroup, where: str) -> list[list[int]]:
        options = (group.tools, group.chat_template_kwargs)
        try:
            ids = [
                list(c) if isinstance(c, TokenIds) else self.renderer.encode(group.prompt, c, *options)
                for c in group.completions
            ]
        except ScoringError as error:
            raise DataError(f"{where}: {error}") from error
        if any(not sequence for sequence in ids):
            raise DataError(f"{where}: a completion has no tokens; remove the row or fill it")
        largest = max(map(max, ids))
        if self.num_embeddings is not None and largest >= self.num_embeddings:
            raise DataError(
                f"{where}: token id {largest} is none of the model's {self.num_embeddings}; tokenise with the model's "
                "own tokenizer"
            )
        return ids

    def _truncate_prompt(self, group: PreferenceGroup, ids: list[list[int]], counts: Counter[str]) -> list[list[int]]:
        """Cut the oldest prompt tokens of all sequences alike, so that the prefix stays shared; answers stay whole."""
        excess = max(map(len, ids)) - (self.max_length or max(map(len, ids)))
        if excess <= 0:
            return ids
        room = shared_prefix_length([tuple(sequence) for sequence in ids])
        if isinstance(group.prompt, str) and group.prompt:
            room = min(room, len(self.renderer.tokenizer(group.prompt)["input_ids"]))
        keep = int(ids[0][0] == self.renderer.tokenizer.bos_token_id)
        cut = min(excess, max(0, room - keep))
        if cut:
            counts["prompts truncated"] += 1
        return [sequence[:keep] + sequence[keep + cut :] for sequence in ids]


def read_row(row: Any, where: str) -> PreferenceGroup:
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


def _encoded(group: PreferenceGroup, ids: list[list[int]], keep: list[bool]) -> dict[str, Any]:
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
