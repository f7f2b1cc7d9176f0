"""Skywork-Reward-Preference (Liu et al. 2024, arXiv 2410.18451) and other sets of pairs of whole conversations.

`chosen` and `rejected` hold every turn; what both begin with is the prompt. Scores and models are read where there are
any.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, kept, known_number, rated_pair
from rewardsmith.records import Comparison, Message, PreferenceGroup

NO_SCORES = ("score_chosen", "score_rejected")
RATINGS = {"tulu-3-preference": ("chosen_rating", "rejected_rating"), "capybara": ("rating_chosen", "rating_rejected")}


def read(rows: Rows) -> Read:
    """Give one group a row of Skywork-Reward-Preference; `source` is kept as the subset."""
    return read_each(rows, partial(_group, source="skywork-reward-preference"))


def read_tulu(rows: Rows) -> Read:
    """Give one group a row of a Tulu 3 preference mixture; ratings, where there are any, give margin and ties."""
    return read_each(rows, partial(_group, source="tulu-3-preference"))


def read_capybara(rows: Rows) -> Read:
    """Give one group a row of Capybara-DPO; the ratings from 1 to 5 give margin and ties."""
    return read_each(rows, partial(_group, source="capybara"))


def _group(row: Row, where: str, source: str) -> PreferenceGroup:
    columns = RATINGS.get(source, NO_SCORES)
    return rated_pair(row, where, source, columns, model_columns=("chosen_model", "rejected_model"), id_column="id")


def read_orca(rows: Rows) -> Read:
    """Give one group a row of the Orca pairs: Intel's, or Argilla's with ratings, where the status "tie" is a tie."""
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
ENTRIES = (
    Entry(
        name="skywork-reward-preference",
        summary=f"Skywork-Reward-Preference-80K v0.2: {SKYWORK}, without RewardBench overlap",
        licence="none stated (those of its sources)",
        paper="2410.18451",
        hub_id="Skywork/Skywork-Reward-Preference-80K-v0.2",
        read=read,
        labels="AI",
    ),
    Entry(
        name="skywork-reward-preference-v0.1",
        summary=f"Skywork-Reward-Preference-80K v0.1: {SKYWORK}; overlaps with RewardBench",
        licence="none stated (those of its sources)",
        paper="2410.18451",
        hub_id="Skywork/Skywork-Reward-Preference-80K-v0.1",
        read=read,
        labels="AI",
    ),
    Entry(
        name="tulu-3-preference",
        summary="Tulu 3 8B preference mixture: pairs of conversations",
        licence="ODC-BY-1.0 (parts non-commercial)",
        paper="2411.15124",
        hub_id="allenai/llama-3.1-tulu-3-8b-preference-mixture",
        read=read_tulu,
        labels="AI",
    ),
    Entry(
        name="capybara-dpo",
        summary="Capybara-DPO 7k: multi-turn pairs with ratings from 1 to 5",
        licence="Apache-2.0",
        paper="https://github.com/argilla-io/distilabel",
        hub_id="argilla/distilabel-capybara-dpo-7k-binarized",
        read=read_capybara,
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
