"""From rows with judged steps to encoded groups, counted to the last step.

An encoded group holds the solutions of one question: `ids` (K token-id lists) and, one entry a step, `sequence` (which
of them), `place` (the token at which it is judged) and `label` (the probability that it is right; -1 is not judged).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, List, Value

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.models.steps import SolutionIds, StepRenderer
from rewardsmith.records import PreferenceGroup, as_plain
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import EncodingReport, is_encoded, place_of, read_row
from rewardsmith.training.streams import STREAMS

UNJUDGED = -1.0
NEUTRAL_LABELS = {"right": 1.0, "wrong": 0.0, "half": 0.5, "skip": UNJUDGED}
STEP_FEATURES = Features(
    {
        "ids": List(List(Value("int32"))),
        "sequence": List(Value("int32")),
        "place": List(Value("int32")),
        "label": List(Value("float32")),
    }
)
# Columns of rows that TRL's PRMTrainer has tokenised.
TOKENISED = ("input_ids", "labels")
MASKED = -100
NO_STEPS = (
    "holds no judged steps, which a step model is trained on: give prompt, completions (the steps) and labels; pairs "
    "and rankings train with RewardTrainer (leave loss_type='steps' out)"
)


@dataclass(frozen=True)
class StepEncoder:
    """Turn solutions with judged steps into token ids and labels.

    Args:
        renderer: writes and tokenises question and steps.
        args: what neutral labels mean, which are masked, and the limits.
        max_length: longest sequence in tokens; None for no limit.
        num_embeddings: how many tokens the model has.
    """

    renderer: StepRenderer
    args: RewardConfig
    max_length: int | None = None
    num_embeddings: int | None = None
    overflow: str = "drop"

    def keep_template(self) -> None:
        """Leave the tokenizer as it is: step_format='chat' needs a template of its own."""

    def encode(self, group: PreferenceGroup, where: str, trains: bool) -> tuple[dict[str, Any] | None, Counter[str]]:
        """Return the encoded group, None when no judged step can be kept, and what was left out, cut or masked.

        Raises:
            DataError: a group without judged steps, or a step that holds the separator.
        """
        counts: Counter[str] = Counter()
        sequences: list[tuple[SolutionIds, list[float]]] = []
        try:
            question = self._question(group, counts)
            for steps, labels in labelled_solutions(group, where, NEUTRAL_LABELS[self.args.neutral_steps], counts):
                if trains and self.args.train_on_last_step_only:
                    labels = [UNJUDGED] * (len(labels) - 1) + labels[-1:]
                clean = [self.renderer.rule.clean(step) for step in steps]
                counts["steps in which a separator became a space"] += sum(map(str.__ne__, steps, clean))
                sequences.append((self.renderer.add_steps(question, clean), labels))
        except ScoringError as error:
            raise DataError(f"{where}: {error}") from error
        kept = [found for ids, labels in sequences if (found := self._fit(ids, labels, len(question), counts))]
        counts["steps without a label"] += sum(label == UNJUDGED for _, labels in kept for label in labels)
        if not kept:
            counts["rows without a judged step left out"] += 1
            return None, +counts
        return joined([one_solution(ids, labels) for ids, labels in kept]), +counts

    def _question(self, group: PreferenceGroup, counts: Counter[str]) -> list[int]:
        """Return the ids of the question, with as much of its end as max_prompt_length leaves."""
        ids, limit = self.renderer.question_ids(group.prompt), self.args.max_prompt_length
        if limit is None or len(ids) <= limit:
            return ids
        counts["prompts cut to max_prompt_length"] += 1
        bos = self.renderer.tokenizer.bos_token_id
        keep = [bos] if bos is not None and ids[0] == bos and limit > 1 else []
        return [*keep, *ids[len(keep) - limit :]]

    def _fit(
        self, ids: SolutionIds, labels: list[float], question: int, counts: Counter[str]
    ) -> tuple[SolutionIds, list[float]] | None:
        """Return a solution with the steps that end within the limits; None where no judged one is left."""
        largest = max(ids, default=0)
        if self.num_embeddings is not None and largest >= self.num_embeddings:
            raise DataError(
                f"token id {largest} is none of the model's {self.num_embeddings}; tokenise with the model's own "
                "tokenizer"
            )
        limits = [self.max_length, None if self.args.max_completion_length is None else question]
        limits[1] = None if limits[1] is None else question + int(self.args.max_completion_length or 0)
        limit = min((limit for limit in limits if limit is not None), default=len(ids))
        size = sum(place < limit for place in ids.places)
        counts["steps behind the length limit left out"] += len(ids.places) - size
        if not any(label != UNJUDGED for label in labels[:size]):
            return None
        return SolutionIds(ids[: ids.places[size - 1] + 1], ids.places[:size]), labels[:size]


def labelled_solutions(
    group: PreferenceGroup, where: str, neutral: float, counts: Counter[str]
) -> list[tuple[list[str], list[float]]]:
    """Return (steps, labels) of every solution of a group. Raises DataError where no steps are judged.

    A group of candidates for the next step (the variant "steps" of PRM800K) labels the last step of each.
    """
    data = group.metadata
    if "step_ratings" in data:
        soft = data.get("step_probabilities") or [None] * len(data["steps"])
        labels = [
            _label(rating, neutral, counts) if known is None else float(known)
            for rating, known in zip(data["step_ratings"], soft, strict=True)
        ]
        return [(list(data["steps"]), labels)]
    if "candidates" in data:
        before, ratings = list(data["steps_before"]), group.ratings["step"]
        return [
            ([*before, text], [*[UNJUDGED] * len(before), _label(rating, neutral, counts)])
            for text, rating in zip(data["candidates"], ratings, strict=True)
        ]
    raise DataError(f"{where}: the row {NO_STEPS}")


def _label(rating: float | None, neutral: float, counts: Counter[str]) -> float:
    if rating is None:
        return UNJUDGED
    if rating == 0:
        said = {1.0: "read as right", 0.0: "read as wrong", 0.5: "read as half right"}.get(neutral, "left out")
        counts[f"neutral steps {said}"] += 1
        return neutral
    return float(rating > 0)


def one_solution(ids: Sequence[int], labels: Sequence[float], places: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the encoded group of one solution."""
    where = ids.places if isinstance(ids, SolutionIds) else tuple(places or ())
    return {"ids": [list(ids)], "sequence": [0] * len(where), "place": list(where), "label": list(labels)}


def joined(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one encoded group of several of one question."""
    found: dict[str, Any] = {name: [] for name in STEP_FEATURES}
    for group in groups:
        offset = len(found["ids"])
        found["sequence"] += [offset + number for number in group["sequence"]]
        for name in ("ids", "place", "label"):
            found[name] += group[name]
    return found


def solutions_of(group: Mapping[str, Any]) -> list[SolutionIds]:
    """Return the solutions of an encoded group with the places of their steps."""
    places: list[list[int]] = [[] for _ in group["ids"]]
    for sequence, place in zip(group["sequence"], group["place"], strict=True):
        places[sequence].append(place)
    return [SolutionIds(ids, own) for ids, own in zip(group["ids"], places, strict=True)]


def encode_steps(
    dataset: Iterable[object], encoder: StepEncoder, name: str, *, merge_prompts: bool = False
) -> tuple[Dataset, EncodingReport]:
    """Encode a data set; rows stay in order unless `merge_prompts` makes one group of a question's solutions.

    Args:
        dataset: a `Dataset`, or a sequence of rows or groups; rows that TRL has tokenised are taken too.
        name: stands in messages ("train", "eval").

    Raises:
        DataError: a row without judged steps, or none left.
    """
    report = EncodingReport(unit="judged steps")
    if isinstance(dataset, Dataset) and is_encoded(dataset, STEP_FEATURES):
        return dataset, report
    if isinstance(dataset, STREAMS):
        raise ConfigError(f"{name}: steps are trained from rows at hand, not from a stream; load the data set whole")
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset))
        raise DataError(f"{name}: the data set holds the splits {splits}; pass one of them, as in dataset['train']")
    by_question: dict[str, list[dict[str, Any]]] = {}
    for key, encoded in _encoded_rows(dataset, encoder, name, report):
        by_question.setdefault(key if merge_prompts else str(report.rows), []).append(encoded)
    if not by_question:
        raise DataError(
            f"{name}: no judged step is left ({report}); check the labels, or raise max_length and "
            "max_completion_length"
        )
    groups = [joined(found) for found in by_question.values()]
    report.groups = len(groups)
    report.comparisons = sum(label != UNJUDGED for group in groups for label in group["label"])
    return Dataset.from_list(groups, features=STEP_FEATURES), report


def _encoded_rows(
    dataset: Iterable[object], encoder: StepEncoder, name: str, report: EncodingReport
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key of the question and the encoded group of every row, and count what became of it."""

    def encode(row: object, index: int) -> tuple[str, dict[str, Any] | None, Counter[str]]:
        where = f"{name} row {index}"
        if isinstance(row, Mapping) and all(column in row for column in TOKENISED):
            return str(index), _read_tokenised(row, where), Counter()
        assert isinstance(row, Mapping | PreferenceGroup)
        group = read_row(row, where)
        encoded, counts = encoder.encode(group, place_of(where, group) if group is row else where, name == "train")
        return json.dumps(as_plain(group.prompt), sort_keys=True, default=str), encoded, counts

    processes = encoder.args.dataset_num_proc
    if isinstance(dataset, Dataset) and processes is not None and processes > 1:
        how: dict[str, Any] = {"with_indices": True, "num_proc": processes, "remove_columns": dataset.column_names}
        found = dataset.map(lambda row, index: {"encoded": json.dumps(encode(row, index))}, **how)
        rows = ((key, group, Counter(counts)) for key, group, counts in map(json.loads, found["encoded"]))
    else:
        rows = (encode(row, index) for index, row in enumerate(dataset))
    for key, encoded, counts in rows:
        report.rows += 1
        report.dropped += counts
        if encoded is not None:
            yield key, encoded


def _read_tokenised(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read a row that TRL has tokenised: `labels` is -100 where no step is judged."""
    ids, labels = row["input_ids"], row["labels"]
    places = [place for place, label in enumerate(labels) if label != MASKED]
    if len(ids) != len(labels) or not places or not all(labels[place] in (0, 1) for place in places):
        raise DataError(
            f"{where}: input_ids has {len(ids)} tokens and labels {len(labels)}, of which {len(places)} are judged; "
            "give one label a token, 1 or 0 where a step is judged and -100 elsewhere"
        )
    return one_solution(ids, [float(labels[place]) for place in places], places)
