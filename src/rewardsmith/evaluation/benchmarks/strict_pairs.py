"""Benchmarks whose rule is strict accuracy over labelled pairs, overall or by subset; they differ in layout and parts.

auto-j (Li et al. 2023, arXiv 2310.05470): `scenario, label, prompt, response 1, response 2`, label 0 first, 1 second, 2
tie (left out). The authors' agreement of judges, over the three labels of all rows, is a part.
HHH (Askell et al. 2021, arXiv 2112.00861): `input, targets: {choices, labels}` or BIG-bench's `input, target_scores`,
label 1 marking the better of two; the folder or hub configuration is the subset. "\\n\\nHuman:" turns in the input are
read as a conversation.
EvalBiasBench (Park et al. 2024, arXiv 2407.06551): an object of bias name to rows `instruction, chosen/rejected or
output_1/output_2, label`; the score is the mean over the biases.

JudgeBench (Tan et al. 2024, arXiv 2410.12784), `ScalerLab/JudgeBench`, split `gpt` (350 pairs) or `claude` (270).

A reward model plays one game: it is right when the answer it scores strictly higher is the labelled one. The authors
report the micro average; some papers report the macro mean of the four sources. Both are parts; the score is micro.
The authors' code reads equal scores as "B>A", which is right on about half of such pairs; that figure is a part, too.

PandaLM's test set (Wang et al. 2023, arXiv 2306.05087), `testset-v1.json`: three annotators a pair.

The label is the majority of `annotator1..3` (0 tie, 1, 2); three different votes are a tie. A scalar reward hardly
ever ties, so the score is strict accuracy over pairs whose majority prefers a side; the share of ties is a part. So is
the ceiling: how often one annotator agrees with the majority on those pairs. The authors' own figure for judges, the
accuracy over the three verdicts of all pairs, is a part; it takes `annotator1` where all three differ. Some responses
are JSON booleans and are read as text.

LLMBar (Zeng et al. 2023, arXiv 2310.07641).

Rows `input, output_1, output_2, label` with label 1 or 2, in `dataset.json` files whose folders name the subset
(Natural, Adversarial/Neighbor, ...). A pair is right when the labelled output scores strictly higher. The score is the
accuracy over all pairs; the mean over the subsets, which papers also report, is a part. Of a copy of the authors'
whole `Dataset` folder only LLMBar's own subsets are read, never the results of evaluators that lie beside them.

FairEval (Wang et al. 2023, arXiv 2305.17926): 80 questions, answers of ChatGPT and Vicuna-13B, people's judgement.

Read as its authors publish it: `question.jsonl` (question_id, text, category), `answer/answer_<model>.jsonl`
(question_id, text) and `review/review_<model 1>_<model 2>_human.txt`, line k of which judges question k as CHATGPT,
VICUNA13B or TIE. Also read as LLMBar's authors processed it, without the ties: one `dataset.json` of LLMBar's rows.

The score is strict accuracy, judged ties left out, as LLMBar's authors use it. FairEval's own figures for judges, the
accuracy over the three verdicts and Cohen's kappa, are parts; a reward gives a tie only where it is equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.data.detecting import read_rows
from rewardsmith.data.sets.entry import split_turns
from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import (
    IN_PUBLISHED_ORDER,
    KEY,
    Benchmark,
    Row,
    accuracy_by,
    labelled,
    mean_of,
    need,
    pair_accuracy,
    subset_of,
    three_way_accuracy,
    verdicts,
)
from rewardsmith.evaluation.judged import ScoredGroup, prompt_clusters
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.agreement import cohen_kappa
from rewardsmith.stats.intervals import Resampling, clustered_share

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}
JUDGE_BENCH_LABELS = {"A>B": 0, "B>A": 1}
# A copy of the authors' repository also holds the judgements of every judge, beside the two files of pairs.
JUDGE_BENCH_FILES = (r"(^|/)dataset=judgebench,response_model=[^,/]+\.jsonl$",)
OWN = (r"(^|/)(Natural|Adversarial/[^/]+|Neighbor|GPTInst|GPTOut|Manual)/dataset\.json$", r"(^|/)dataset\.json$")
QUESTIONS = "question.jsonl"
VERDICTS: dict[str, int | None] = {"CHATGPT": 0, "VICUNA13B": 1, "TIE": None}


def read_auto_j(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of auto-j's pairwise test set."""
    label = int(need(where, row, "label"))
    if label not in (0, 1, 2):
        raise DataError(f"{where}: label must be 0, 1 or 2, not {label}")
    pair = (need(where, row, "response 1"), need(where, row, "response 2"))
    yield labelled(where, need(where, row, "prompt"), pair, None if label == 2 else label, subset=row.get("scenario"))


def read_hhh(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of the HHH alignment data."""
    subset = row.get("subset") or row.get(KEY) or subset_of(row)
    if "target_scores" in row:
        choices, labels = list(row["target_scores"]), list(row["target_scores"].values())
    else:
        targets = need(where, row, "targets")
        choices, labels = list(targets["choices"]), list(targets["labels"])
    if len(choices) != 2 or sorted(labels) != [0, 1]:
        raise DataError(f"{where}: needs two choices of which one has label 1, found labels {labels}")
    yield labelled(where, _asked(where, need(where, row, "input")), tuple(choices), labels.index(1), subset=subset)


def read_bias(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row of EvalBiasBench."""
    subset = row.get("bias") or row.get(KEY)
    pair = (need(where, row, "chosen", "output_1", "response1"), need(where, row, "rejected", "output_2", "response2"))
    winner = 0 if "chosen" in row else int(need(where, row, "label")) - 1
    yield labelled(where, need(where, row, "instruction", "input"), pair, winner, subset=subset)


def micro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy over all pairs, and by subset."""
    return pair_accuracy(scored, how), accuracy_by(scored, "subset", how)


def auto_j(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy without ties, by scenario, and the agreement over the three labels."""
    accuracy, parts = micro(scored, how)
    people = [verdicts(item)[0] for item in scored]
    return accuracy, {**parts, "three-way accuracy": three_way_accuracy(scored, people, how)}


def macro(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the mean of the subsets' accuracies."""
    parts = accuracy_by(scored, "subset", how)
    return mean_of(parts), parts


def _asked(where: str, text: str) -> Any:
    """Return the input as turns where it is a marked dialogue, without the mark of the answer that is to come."""
    dialogue = "\n\n" + text.strip().removesuffix("Assistant:").strip()
    if not dialogue.startswith("\n\nHuman:"):
        return text
    try:
        # The dialogue ends with the user; an answer is put there for the check of turns and taken off again.
        turns = split_turns(dialogue + "\n\nAssistant: its answer", MARKS, where, "input")[:-1]
    except DataError:
        return text
    return [turn.to_dict() for turn in turns]


AUTO_J = Benchmark(read_auto_j, auto_j, patterns=(r"(^|/)testdata_pairwise\.jsonl$",), rules=IN_PUBLISHED_ORDER)
HHH = Benchmark(read_hhh, micro, patterns=(r"(^|/)task\.json$",), rules=IN_PUBLISHED_ORDER)
EVAL_BIAS_BENCH = Benchmark(read_bias, macro, patterns=(r"biasbench\.json$",))


def read_judge_bench(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row; all MMLU-Pro subjects are one source."""
    label = need(where, row, "label")
    if label not in JUDGE_BENCH_LABELS:
        raise DataError(f"{where}: label must be 'A>B' or 'B>A', not {label!r}")
    source = str(need(where, row, "source"))
    source = "mmlu-pro" if source.startswith("mmlu-pro") else source
    pair = (need(where, row, "response_A"), need(where, row, "response_B"))
    yield labelled(where, need(where, row, "question"), pair, JUDGE_BENCH_LABELS[label], subset=source)


def summarise_judge_bench(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the micro average; parts are the sources and both averages."""
    sources = accuracy_by(scored, "subset", how)
    micro = pair_accuracy(scored, how)
    hits = [float((item.rewards[0] > item.rewards[1]) == (item.group.comparisons[0].better == 0)) for item in scored]
    as_b = clustered_share(hits, prompt_clusters(scored))
    return micro, {**sources, "micro": micro, "macro": mean_of(sources), "micro, ties as B>A": as_b}


JUDGE_BENCH = Benchmark(read_judge_bench, summarise_judge_bench, "gpt", JUDGE_BENCH_FILES, rules=IN_PUBLISHED_ORDER)


def read_pandalm(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    votes = Counter(int(need(where, row, f"annotator{k}")) for k in (1, 2, 3))
    label, count = votes.most_common(1)[0]
    winner = label - 1 if label in (1, 2) and count >= 2 else None
    pair = (str(need(where, row, "response1")), str(need(where, row, "response2")))
    prompt = "\n".join(filter(None, (need(where, row, "instruction"), row.get("input"))))
    share = None if winner is None else count / votes.total()
    # As a verdict: 1 the first, -1 the second, 0 a tie. The first vote is the most common where all differ.
    verdict = {1: 1, 2: -1}.get(label, 0)
    yield labelled(where, prompt, pair, winner, majority_share=share, verdict=verdict)


def summarise_pandalm(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy; parts are the share of judged ties, which are left out, and the annotators' ceiling."""
    ties = sum(item.group.num_ties for item in scored)
    shares = [share for item in scored if (share := item.group.metadata["majority_share"]) is not None]
    ceiling = clustered_share(shares)
    return pair_accuracy(scored, how), {
        "judged ties": Estimate(ties / len(scored), len(scored)),
        "three-way accuracy": three_way_accuracy(scored, [item.group.metadata["verdict"] for item in scored], how),
        "ceiling: an annotator agrees with the majority": ceiling,
    }


PANDALM = Benchmark(read_pandalm, summarise_pandalm, patterns=(r"(^|/)testset-v1\.json$",), rules=IN_PUBLISHED_ORDER)


def read_llmbar(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    label = str(need(where, row, "label"))
    if label not in ("1", "2"):
        raise DataError(f"{where}: label must be 1 or 2, not {label!r}")
    pair = (need(where, row, "output_1"), need(where, row, "output_2"))
    yield labelled(where, need(where, row, "input"), pair, int(label) - 1, subset=subset_of(row))


def summarise_llmbar(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy; parts are the subsets, where the folders name several, and their mean."""
    parts = accuracy_by(scored, "subset", how)
    if len(parts) < 2:
        return pair_accuracy(scored, how), {}
    adversarial = {name: part for name, part in parts.items() if "Adversarial" in name}
    means = {"mean of subsets": mean_of(parts)}
    if len(adversarial) > 1:
        means["mean of Adversarial"] = mean_of(adversarial)
    return pair_accuracy(scored, how), {**parts, **means}


LLMBAR = Benchmark(read_llmbar, summarise_llmbar, patterns=OWN, rules=IN_PUBLISHED_ORDER)


def published_rows(source: Path) -> Iterator[Row] | None:
    """Return the joined rows of the authors' folder (or of its `question.jsonl`); None where there is no such file."""
    questions = source if source.name == QUESTIONS else source / QUESTIONS
    return _joined(questions) if questions.is_file() else None


def read_fair_eval(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read a joined row, or one in LLMBar's layout."""
    if "verdict" not in row:
        yield from read_llmbar(where, row)
        return
    pair = (row["output_1"], row["output_2"])
    yield labelled(where, need(where, row, "input"), pair, row["verdict"], category=row.get("category"))


def summarise_fair_eval(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy; parts of the authors' layout are the categories, the ties and the three-way figures."""
    if not any("category" in item.group.metadata for item in scored):
        return summarise_llmbar(scored, how)
    parts = accuracy_by(scored, "category", how)
    labels = [verdicts(item) for item in scored]
    people = [label for label, _ in labels]
    parts["judged ties"] = Estimate(people.count(0) / len(people), len(people))
    parts["three-way accuracy"] = three_way_accuracy(scored, people, how)
    parts["three-way kappa"] = cohen_kappa(labels)
    return pair_accuracy(scored, how), parts


def _joined(questions: Path) -> Iterator[Row]:
    folder = questions.parent
    review, names = _review(folder)
    both = [_answers(folder / "answer" / f"answer_{name}.jsonl") for name in names]
    asked = list(read_rows(questions))
    lines = [line.strip() for line in review.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) != len(asked):
        raise DataError(f"{review}: {len(lines)} verdicts for the {len(asked)} questions of {questions.name}")
    for number, ((where, row), line) in enumerate(zip(asked, lines, strict=True), start=1):
        if line not in VERDICTS:
            raise DataError(f"{review}:row {number}: the verdict must be one of {', '.join(VERDICTS)}, not {line!r}")
        key = need(where, row, "question_id")
        if any(key not in answers for answers in both):
            raise DataError(f"{where}: question_id {key!r} has no answer in each of the files of {' and '.join(names)}")
        texts = {f"output_{side}": answers[key] for side, answers in enumerate(both, start=1)}
        yield (
            where,
            {"input": need(where, row, "text"), "category": row.get("category"), "verdict": VERDICTS[line], **texts},
        )


def _review(folder: Path) -> tuple[Path, tuple[str, str]]:
    """Find people's judgements and the two models whose answers they judge, which the file's name joins by "_"."""
    for review in sorted((folder / "review").glob("review_*_human.txt")):
        words = review.stem.removeprefix("review_").removesuffix("_human").split("_")
        for cut in range(1, len(words)):
            names = ("_".join(words[:cut]), "_".join(words[cut:]))
            if all((folder / "answer" / f"answer_{name}.jsonl").is_file() for name in names):
                return review, names
    raise DataError(
        f"{folder}: needs review/review_<model 1>_<model 2>_human.txt and answer/answer_<model>.jsonl of both models"
    )


def _answers(path: Path) -> dict[Any, str]:
    return {need(where, row, "question_id"): need(where, row, "text") for where, row in read_rows(path)}


FAIR_EVAL = Benchmark(
    read_fair_eval,
    summarise_fair_eval,
    patterns=(r"FairEval/dataset\.json$", OWN[1]),
    rules=IN_PUBLISHED_ORDER,
    join=published_rows,
)
