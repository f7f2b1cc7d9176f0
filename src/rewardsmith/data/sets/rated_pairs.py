"""Answers that models compared or rated: UltraFeedback, Skywork-Reward-Preference, Tulu 3, Capybara, the Orca pairs.

Skywork-Reward-Preference (Liu et al. 2024, arXiv 2410.18451) and the like are pairs of whole conversations: `chosen`
and `rejected` hold every turn; what both begin with is the prompt. Scores and models are read where there are any.

UltraFeedback (Cui et al. 2023, arXiv 2310.01377): four answers to an instruction, rated by GPT-4 on four aspects.
The first release stored 2,628 answers with an `overall_score` of 10 of which many were meant to be 1 (the authors'
repository, issue 8). The repair here is theirs where it needs no new judgement: a 10 becomes 1 when the mean of the
aspect ratings is at most 2, stays when that mean is above 4, and counts as unknown in between. The names of the models
whose score was changed are in the metadata. The data on the hub after 2023-12-29 are repaired already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each, split_shared
from rewardsmith.data.sets.published import (
    Turns,
    ask,
    check_turns,
    compare,
    conversation,
    kept,
    known_number,
    mean,
    name_of,
    records,
    said,
)
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Completion, Message, PreferenceGroup


@dataclass(frozen=True)
class _Columns:
    """Where a set of pairs keeps the scores of chosen and rejected, who wrote them, and the name of the row."""

    scores: tuple[str, str] = ("score_chosen", "score_rejected")
    models: tuple[str, str] = ("chosen_model", "rejected_model")
    row_id: str = "id"


_ULTRAFEEDBACK_MODELS = ("chosen-model", "rejected-model")
PAIRS = {
    "skywork-reward-preference": _Columns(),
    "tulu-3-preference": _Columns(("chosen_rating", "rejected_rating")),
    "capybara": _Columns(("rating_chosen", "rating_rejected")),
    "ultrafeedback-binarized": _Columns(models=_ULTRAFEEDBACK_MODELS, row_id="prompt_id"),
    "ultrafeedback-cleaned": _Columns(("chosen-rating", "rejected-rating"), _ULTRAFEEDBACK_MODELS, "prompt_id"),
}


def read_pairs(rows: Rows, source: str) -> Read:
    """Return one group a pair of conversations of a set of PAIRS; scores, where there are any, give margin and ties."""
    return read_each(rows, partial(_rated_pair, source=source))


def _rated_pair(row: Row, where: str, source: str) -> PreferenceGroup:
    """Read a row of two conversations; its `source` column is the subset, models and scores may be absent."""
    columns = PAIRS[source]
    prompt, completions = chat_pair(row, where)
    comparison, scores = judged(row, where, columns.scores)
    models = tuple(name_of(row.get(name)) for name in columns.models)
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(comparison,),
        ratings={"score": scores} if any(score is not None for score in scores) else {},
        models=models if any(models) else (),
        source=source,
        group_id=str(row.get(columns.row_id) or where),
        metadata={"subset": row["source"]} if row.get("source") else {},
    )


def chat_pair(row: Row, where: str) -> tuple[str | Turns, tuple[Completion, ...]]:
    """Read `chosen` and `rejected`, each a whole conversation that ends with the assistant.

    People keep their own data under the same names: answers alone beside a prompt, as text or as messages, are read
    as TRL reads them.
    """
    prompt = row.get("prompt")
    if isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
        text = "" if prompt is None else check_text(prompt, where, "prompt", empty=True)
        return text, (said(row["chosen"], where, "chosen"), said(row["rejected"], where, "rejected"))
    asked = conversation(prompt, where, "prompt") if isinstance(prompt, list) and prompt else ()
    sides = []
    for column in ("chosen", "rejected"):
        turns = conversation(require(row, column, where), where, column)
        if asked and turns[0].role == "assistant":
            turns = (*asked, *turns)
        sides.append(check_turns(turns, where, column))
    return split_shared(sides)


def judged(row: Row, where: str, columns: tuple[str, str]) -> tuple[Comparison, tuple[float | None, float | None]]:
    """Compare chosen with rejected by two score columns, which may be absent; equal scores are a tie."""
    better, worse = (known_number(row.get(name), where, name) for name in columns)
    if better is None or worse is None:
        return Comparison(0, 1), (better, worse)
    if better < worse:
        raise row_error(
            where,
            "contradictory scores",
            f"{columns[0]} is {better}, below {columns[1]} = {worse}; swap the sides or remove the row",
        )
    return Comparison(0, 1, "better" if better > worse else "tie"), (better, worse)


def read_orca(rows: Rows) -> Read:
    """Return one group a row of the Orca pairs: Intel's, or Argilla's with ratings, where the status "tie" is a tie."""
    return read_each(rows, _orca)


def _orca(row: Row, where: str) -> PreferenceGroup:
    column = "question" if "question" in row else "input"
    answers = {name: require(row, name, where) for name in ("chosen", "rejected")}
    prompt, completions = ask(require(row, column, where), answers, where, column)
    system = row.get("system")
    if system is not None and check_text(system, where, "system", empty=True).strip():
        prompt = (Message("system", system), *prompt)
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(_orca_comparison(row, where),),
        source="orca-dpo-pairs",
        group_id=where,
        metadata=kept(row, "status", "in_gsm8k_train"),
    )


def _orca_comparison(row: Row, where: str) -> Comparison:
    """Take the distance of the two numbers in `rating` as margin, none or equal ones aside; chosen is better."""
    if row.get("status") == "tie":
        return Comparison(0, 1, "tie")
    values: list[Any] = [] if row.get("rating") is None else check_list(row["rating"], where, "rating")
    numbers = [known_number(value, where, f"rating[{index}]") for index, value in enumerate(values)]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return Comparison(0, 1)
    return Comparison(0, 1, "better" if numbers[0] != numbers[1] else "tie")


SKYWORK = "pairs from HelpSteer2, OffsetBias, WildGuard and Magpie"
CONVERSATIONS = (
    Entry(
        name="skywork-reward-preference",
        summary=f"Skywork-Reward-Preference-80K v0.2: {SKYWORK}, without RewardBench overlap",
        licence="none stated (those of its sources)",
        paper="2410.18451",
        hub_id="Skywork/Skywork-Reward-Preference-80K-v0.2",
        read=partial(read_pairs, source="skywork-reward-preference"),
        labels="AI",
    ),
    Entry(
        name="skywork-reward-preference-v0.1",
        summary=f"Skywork-Reward-Preference-80K v0.1: {SKYWORK}; overlaps with RewardBench",
        licence="none stated (those of its sources)",
        paper="2410.18451",
        hub_id="Skywork/Skywork-Reward-Preference-80K-v0.1",
        read=partial(read_pairs, source="skywork-reward-preference"),
        labels="AI",
    ),
    Entry(
        name="tulu-3-preference",
        summary="Tulu 3 8B preference mixture: pairs of conversations",
        licence="ODC-BY-1.0 (parts non-commercial)",
        paper="2411.15124",
        hub_id="allenai/llama-3.1-tulu-3-8b-preference-mixture",
        read=partial(read_pairs, source="tulu-3-preference"),
        labels="AI",
    ),
    Entry(
        name="capybara-dpo",
        summary="Capybara-DPO 7k: multi-turn pairs with ratings from 1 to 5",
        licence="Apache-2.0",
        paper="https://github.com/argilla-io/distilabel",
        hub_id="argilla/distilabel-capybara-dpo-7k-binarized",
        read=partial(read_pairs, source="capybara"),
        columns=frozenset({"chosen", "rejected", "rating_chosen", "rating_rejected"}),
        labels="AI",
    ),
    Entry(
        name="orca-dpo-pairs",
        summary="Orca DPO pairs: answers of GPT models against answers of Llama 2",
        licence="Apache-2.0",
        paper="2306.02707",
        hub_id="Intel/orca_dpo_pairs",
        read=read_orca,
        columns=frozenset({"system", "question", "chosen", "rejected"}),
        labels="constructed",
    ),
    Entry(
        name="orca-dpo-pairs-rated",
        summary="Orca DPO pairs, rated again by a model: ties and margins (Argilla)",
        licence="Apache-2.0",
        paper="2306.02707",
        hub_id="argilla/distilabel-intel-orca-dpo-pairs",
        read=read_orca,
        columns=frozenset({"system", "input", "chosen", "rejected", "rating", "status"}),
        labels="AI",
    ),
)


SUSPICIOUS, REPAIRED, BAD, GOOD = 10.0, 1.0, 2.0, 4.0


def read_ultrafeedback(rows: Rows) -> Read:
    """Return one group an instruction, its answers compared by the mean of their aspect ratings."""
    return read_each(rows, partial(_rated_answers, by="fine-grained_score"))


def read_overall(rows: Rows) -> Read:
    """Return one group an instruction, its answers compared by the repaired `overall_score`."""
    return read_each(rows, partial(_rated_answers, by="overall_score"))


def _rated_answers(row: Row, where: str, by: str) -> PreferenceGroup:
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
    """Return the aspect ratings of one answer, their mean and the repaired overall score."""
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
    """Return the overall score that is meant: a 10 beside poor aspect ratings is 1, beside middling ones unknown."""
    if overall != SUSPICIOUS or fine is None or fine > GOOD:
        return overall
    return REPAIRED if fine <= BAD else None


def _changed(rated: dict[str, float | None], raw: float | None, is_known: bool) -> bool:
    """Whether the overall score was changed, to a number (`is_known`) or to unknown."""
    return rated["overall_score"] != raw and (rated["overall_score"] is not None) == is_known


ULTRAFEEDBACK = (
    Entry(
        name="ultrafeedback",
        summary="UltraFeedback: four answers by the mean of GPT-4's aspect ratings; variant overall: by overall_score",
        licence="MIT",
        paper="2310.01377",
        hub_id="openbmb/UltraFeedback",
        read=read_ultrafeedback,
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
        read=partial(read_pairs, source="ultrafeedback-binarized"),
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
        read=partial(read_pairs, source="ultrafeedback-cleaned"),
        columns=frozenset({"chosen", "rejected", "chosen-rating", "rejected-rating"}),
        labels="AI",
    ),
)

ENTRIES = (*CONVERSATIONS, *ULTRAFEEDBACK)
