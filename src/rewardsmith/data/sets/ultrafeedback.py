"""UltraFeedback (Cui et al. 2023, arXiv 2310.01377): four answers to an instruction, rated by GPT-4 on four aspects.

The first release stored 2,628 answers with an `overall_score` of 10 of which many were meant to be 1 (the authors'
repository, issue 8). The repair here is theirs where it needs no new judgement: a 10 becomes 1 when the mean of the
aspect ratings is at most 2, stays when that mean is above 4, and counts as unknown in between. The names of the models
whose score was changed are in the metadata. The data on the hub after 2023-12-29 are repaired already.
"""

from __future__ import annotations

from functools import partial

from rewardsmith.data.formats.cells import check_mapping, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, compare, kept, known_number, mean, name_of, rated_pair, records
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

SUSPICIOUS, REPAIRED, BAD, GOOD = 10.0, 1.0, 2.0, 4.0


def read(rows: Rows) -> Read:
    """Give one group an instruction, its answers compared by the mean of their aspect ratings."""
    return read_each(rows, partial(_group, by="fine-grained_score"))


def read_overall(rows: Rows) -> Read:
    """Give one group an instruction, its answers compared by the repaired `overall_score`."""
    return read_each(rows, partial(_group, by="overall_score"))


def _group(row: Row, where: str, by: str) -> PreferenceGroup:
    items = records(require(row, "completions", where), where, "completions")
    if len(items) < 2:
        raise row_error(where, "too few completions", f"column 'completions' holds {len(items)}; two can be compared")
    answers = {f"completions[{i}].response": item.get("response") for i, item in enumerate(items)}
    prompt, completions = ask(require(row, "instruction", where), answers, where, "instruction")
    rated = [_ratings(item, where, f"completions[{i}]") for i, item in enumerate(items)]
    names = dict.fromkeys(name for ratings in rated for name in ratings)
    ratings = {name: tuple(one.get(name) for one in rated) for name in names}
    models = tuple(name_of(item.get("model")) for item in items)
    raw = [
        known_number(item.get("overall_score"), where, f"completions[{i}].overall_score")
        for i, item in enumerate(items)
    ]
    changed = {
        "overall_score_repaired": [
            m for m, one, old in zip(models, rated, raw, strict=True) if _changed(one, old, True)
        ],
        "overall_score_doubtful": [
            m for m, one, old in zip(models, rated, raw, strict=True) if _changed(one, old, False)
        ],
    }
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=compare(ratings[by]),
        ratings=ratings,
        models=models,
        source="ultrafeedback",
        group_id=where,
        metadata={
            **({"subset": row["source"]} if row.get("source") else {}),
            **kept(row, "correct_answers", "incorrect_answers"),
            **{name: found for name, found in changed.items() if found},
        },
    )


def _ratings(item: Row, where: str, column: str) -> dict[str, float | None]:
    """Give the aspect ratings of one answer, their mean and the repaired overall score."""
    aspects: dict[str, float | None] = {}
    for name, annotation in check_mapping(item.get("annotations") or {}, where, f"{column}.annotations").items():
        found = annotation if isinstance(annotation, list) else [annotation]
        values = [_rating(one, where, f"{column}.annotations.{name}") for one in found]
        aspects[name] = mean(values)
    fine = mean(aspects.values())
    if fine is None:
        fine = known_number(item.get("fine-grained_score"), where, f"{column}.fine-grained_score")
    overall = known_number(item.get("overall_score"), where, f"{column}.overall_score")
    return {**aspects, "fine-grained_score": fine, "overall_score": repair_overall(overall, fine)}


def _rating(annotation: object, where: str, column: str) -> float | None:
    fields = check_mapping(annotation, where, column)
    return known_number(fields.get("Rating"), where, f"{column}.Rating")


def repair_overall(overall: float | None, fine: float | None) -> float | None:
    """Give the overall score that is meant: a 10 beside poor aspect ratings is 1, beside middling ones unknown."""
    if overall != SUSPICIOUS or fine is None or fine > GOOD:
        return overall
    return REPAIRED if fine <= BAD else None


def _changed(rated: dict[str, float | None], raw: float | None, is_known: bool) -> bool:
    """Whether the overall score was changed, to a number (`is_known`) or to unknown."""
    return rated["overall_score"] != raw and (rated["overall_score"] is not None) == is_known


def read_binarized(rows: Rows) -> Read:
    """Give one group a pair of conversations with `score_chosen` and `score_rejected`; equal scores are a tie."""
    return read_each(rows, partial(_pair, columns=("score_chosen", "score_rejected"), source="ultrafeedback-binarized"))


def read_cleaned(rows: Rows) -> Read:
    """Give one group a pair of conversations with `chosen-rating` and `rejected-rating`; equal ratings are a tie."""
    return read_each(rows, partial(_pair, columns=("chosen-rating", "rejected-rating"), source="ultrafeedback-cleaned"))


def _pair(row: Row, where: str, columns: tuple[str, str], source: str) -> PreferenceGroup:
    names = ("chosen-model", "rejected-model")
    return rated_pair(row, where, source, columns, model_columns=names, id_column="prompt_id")


ENTRIES = (
    Entry(
        name="ultrafeedback",
        summary="UltraFeedback: four answers by the mean of GPT-4's aspect ratings; variant overall: by overall_score",
        licence="MIT",
        paper="2310.01377",
        hub_id="openbmb/UltraFeedback",
        read=read,
        columns=frozenset({"instruction", "completions", "models"}),
        labels="AI",
        variants={"overall": read_overall},
    ),
    Entry(
        name="ultrafeedback-binarized",
        summary="UltraFeedback in pairs, best against one other (used for Zephyr)",
        licence="MIT",
        paper="2310.16944",
        hub_id="HuggingFaceH4/ultrafeedback_binarized",
        read=read_binarized,
        columns=frozenset({"prompt", "chosen", "rejected", "score_chosen", "score_rejected"}),
        files=("*prefs*",),
        split="train_prefs",
        labels="AI",
    ),
    Entry(
        name="ultrafeedback-cleaned",
        summary="UltraFeedback in pairs by the mean of the aspects, TruthfulQA taken out (Argilla)",
        licence="MIT",
        paper="2310.01377",
        hub_id="argilla/ultrafeedback-binarized-preferences-cleaned",
        read=read_cleaned,
        columns=frozenset({"chosen", "rejected", "chosen-rating", "rejected-rating"}),
        labels="AI",
    ),
)
