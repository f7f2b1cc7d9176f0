"""Whole dialogues, compared in pairs or ranked: HH-RLHF, Nectar, and the votes of Chatbot Arena and MT-bench.

Anthropic HH-RLHF (Bai et al. 2022, arXiv 2204.05862): two dialogues that differ from some turn on, each one text with
marked turns. Rows with identical sides are kept as a comparison that prefers none. Dialogues whose turns do not
alternate, or whose judged answer is empty, are left out and counted: a chat template refuses them.

Nectar (Zhu et al. 2023, Starling): seven answers to a chat prompt, ranked by GPT-4; rank 1 is best.

Chatbot Arena and MT-bench votes (Zheng et al. 2023, arXiv 2306.05685; Chiang et al. 2024, arXiv 2403.04132): two
conversations with the same user turns and different models. What both begin with is the prompt; from the first turn
that differs on, each side is a completion, later user turns included. A vote "both bad" is a tie, marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_number, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each, split_shared, split_turns, subset_of
from rewardsmith.data.sets.published import (
    Turns,
    answer,
    check_prompt,
    check_turns,
    choice,
    compare,
    conversation,
    index_choice,
    iso_time,
    kept,
    known_number,
    name_of,
    records,
)
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, Message, Outcome, PreferenceGroup

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


def read_hh_rlhf(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a row, its text turned into messages."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    sides = [split_turns(require(row, name, where), MARKS, where, name) for name in ("chosen", "rejected")]
    prompt, completions = split_shared(sides)
    subset = subset_of(where)
    metadata = {"subset": subset} if subset else {}
    return PreferenceGroup(prompt, completions, (Comparison(0, 1),), group_id=where, metadata=metadata)


HH_RLHF_ENTRY = Entry(
    name="hh-rlhf",
    summary="Anthropic HH-RLHF: the more helpful or less harmful of two dialogues; a subset is a folder of it",
    licence="MIT",
    paper="2204.05862",
    hub_id="Anthropic/hh-rlhf",
    read=read_hh_rlhf,
    # The folder red-team-attempts holds transcripts without a pair.
    files=("train*", "test*", "*-train*", "*-test*"),
)


def read_nectar(rows: Rows) -> Read:
    """Return one group a row: the prompt as messages, every pair of answers compared by rank, equal ranks as ties."""
    return read_each(rows, _nectar_group)


def _nectar_group(row: Row, where: str) -> PreferenceGroup:
    asked = check_prompt(require(row, "prompt", where), where, "prompt")
    # The published prompts end with the name of the assistant, whose turn the answers are.
    prompt = split_turns(f"{asked} answer", MARKS, where, "prompt")[:-1]
    items = records(require(row, "answers", where), where, "answers")
    if len(items) < 2:
        raise row_error(where, "too few completions", f"column 'answers' holds {len(items)}; two can be compared")
    ranks = [
        check_number(require(item, "rank", f"{where} answers[{i}]"), where, f"answers[{i}].rank")
        for i, item in enumerate(items)
    ]
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple(answer(item.get("answer"), where, f"answers[{i}].answer") for i, item in enumerate(items)),
        comparisons=compare(ranks, lower_is_better=True),
        ratings={"rank": tuple(ranks)},
        models=tuple(name_of(item.get("model")) for item in items),
        source="nectar",
        group_id=where,
        metadata=kept(row, "source", "good_natured", "turns"),
    )


NECTAR_ENTRY = Entry(
    name="nectar",
    summary="Nectar: seven answers to a chat prompt, ranked by GPT-4",
    licence="Apache-2.0, not to be used to compete with OpenAI",
    paper="https://starling.cs.berkeley.edu",
    hub_id="berkeley-nest/Nectar",
    read=read_nectar,
    columns=frozenset({"prompt", "answers", "good_natured"}),
    labels="AI",
)


BOTH_BAD = ("tie (bothbad)", "both_bad", "bothbad")
WINNERS = ("model_a", "model_b", "tie", *BOTH_BAD)
DETAILS = ("language", "turn", "is_code", "evaluation_session_id", "evaluation_order", "category_tag")


def read_lmarena(rows: Rows) -> Read:
    """Return one group a vote. Where `turn` names an earlier turn, later ones are cut off (MT-bench)."""
    return read_each(rows, _vote_group)


def _vote_group(row: Row, where: str) -> PreferenceGroup:
    winner = choice(require(row, "winner", where), where, "winner", WINNERS)
    sides = [_side(row, where, column) for column in ("conversation_a", "conversation_b")]
    prompt, completions = split_shared(sides)
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(_vote(winner, name_of(_judge(row.get("judge"))), _time(row)),),
        models=(name_of(row.get("model_a")), name_of(row.get("model_b"))),
        source="lmarena",
        group_id=str(row.get("question_id") or row.get("id") or where),
        metadata={**kept(row, *DETAILS), "winner": winner},
    )


def _side(row: Row, where: str, column: str) -> Turns:
    turns = conversation(require(row, column, where), where, column)
    judged = known_number(row.get("turn"), where, "turn")
    if judged is not None and judged >= 1 and len(turns) > 2 * judged and turns[0].role == "user":
        turns = turns[: 2 * int(judged)]
    return check_turns(turns, where, column)


def _vote(winner: str, annotator: str | None, time: str | None) -> Comparison:
    if winner == "model_b":
        return Comparison(1, 0, annotator=annotator, time=time)
    outcome: Outcome = "better" if winner == "model_a" else "tie"
    return Comparison(0, 1, outcome, annotator=annotator, time=time)


def _judge(judge: object) -> Any:
    """Return the name of the judge; MT-bench names a model with its prompt in a list."""
    return " ".join(map(str, judge)) if isinstance(judge, list) else judge


def _time(row: Row) -> str | None:
    return iso_time(row.get("tstamp") if row.get("tstamp") is not None else row.get("timestamp"))


def read_55k(rows: Rows) -> Read:
    """Return one group a vote of the Kaggle layout: turns as JSON lists, the winner as three columns of 0 and 1."""
    return read_each(rows, _kaggle_group)


def _kaggle_group(row: Row, where: str) -> PreferenceGroup:
    sides = [_kaggle_side(row, where, column) for column in ("response_a", "response_b")]
    prompt, completions = split_shared(sides)
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    votes = [index_choice(require(row, name, where), where, name) for name in names]
    if sum(votes) != 1:
        message = f"{', '.join(names)} are {votes[0]}, {votes[1]}, {votes[2]}; exactly one must be 1"
        raise row_error(where, "unknown label", message)
    winner = ("model_a", "model_b", "tie")[votes.index(1)]
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(_vote(winner, None, None),),
        models=(name_of(row.get("model_a")), name_of(row.get("model_b"))),
        source="lmarena",
        group_id=str(row.get("id") or where),
        metadata={"winner": winner},
    )


def _kaggle_side(row: Row, where: str, column: str) -> Turns:
    """Interleave the user's turns and one model's answers."""
    prompts = check_list(require(row, "prompt", where), where, "prompt")
    answers = check_list(require(row, column, where), where, column)
    if len(prompts) != len(answers) or not prompts:
        message = f"'prompt' holds {len(prompts)} turns and {column!r} {len(answers)}; they must match"
        raise row_error(where, "wrong length", message)
    turns: list[Message] = []
    for index, (asked, answered) in enumerate(zip(prompts, answers, strict=True)):
        turns.append(Message("user", check_prompt(asked, where, f"prompt[{index}]")))
        turns += answer(answered, where, f"{column}[{index}]")
    return check_turns(tuple(turns), where, column)


ARENA = (
    Entry(
        name="chatbot-arena",
        summary="Chatbot Arena, 33 thousand votes of 2023: two models, ties and both bad",
        licence="prompts CC-BY-4.0, answers CC-BY-NC-4.0",
        paper="2306.05685",
        hub_id="lmsys/chatbot_arena_conversations",
        read=read_lmarena,
        columns=frozenset({"conversation_a", "conversation_b", "winner"}),
    ),
    Entry(
        name="arena-55k",
        summary="Chatbot Arena, 55 thousand votes, the Kaggle layout",
        licence="Apache-2.0",
        paper="2403.04132",
        hub_id="lmarena-ai/arena-human-preference-55k",
        read=read_55k,
        columns=frozenset({"prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"}),
    ),
    Entry(
        name="arena-100k",
        summary="Chatbot Arena, 106 thousand votes of 2024",
        licence="see its hub page",
        paper="2403.04132",
        hub_id="lmarena-ai/arena-human-preference-100k",
        read=read_lmarena,
    ),
    Entry(
        name="arena-140k",
        summary="LMArena, 136 thousand votes of 2025, content in parts",
        licence="prompts CC-BY-4.0, answers under the terms of the models",
        paper="2403.04132",
        hub_id="lmarena-ai/arena-human-preference-140k",
        read=read_lmarena,
    ),
    Entry(
        name="mt-bench-human",
        summary="MT-bench: votes of experts, cut after the turn that was judged",
        licence="CC-BY-4.0",
        paper="2306.05685",
        hub_id="lmsys/mt_bench_human_judgments",
        read=read_lmarena,
        files=("human*",),
        split="human",
    ),
)


ENTRIES = (HH_RLHF_ENTRY, NECTAR_ENTRY, *ARENA)
