"""LLMBar (Zeng et al. 2023, arXiv 2310.07641).

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

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import (
    IN_PUBLISHED_ORDER,
    Benchmark,
    by,
    labelled,
    mean_of,
    pair_accuracy,
    three_way_accuracy,
    verdicts,
)
from rewardsmith.evaluation.benchmarks.rows import Row, need, subset_of
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.agreement import cohen_kappa
from rewardsmith.stats.intervals import Resampling


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    label = str(need(where, row, "label"))
    if label not in ("1", "2"):
        raise DataError(f"{where}: label must be 1 or 2, not {label!r}")
    pair = (need(where, row, "output_1"), need(where, row, "output_2"))
    yield labelled(where, need(where, row, "input"), pair, int(label) - 1, subset=subset_of(row))


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts are the subsets, where the folders name several, and their mean."""
    parts = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "subset").items())}
    if len(parts) < 2:
        return pair_accuracy(scored, how), {}
    adversarial = {name: part for name, part in parts.items() if "Adversarial" in name}
    means = {"mean of subsets": mean_of(parts)}
    if len(adversarial) > 1:
        means["mean of Adversarial"] = mean_of(adversarial)
    return pair_accuracy(scored, how), {**parts, **means}


OWN = (r"(^|/)(Natural|Adversarial/[^/]+|Neighbor|GPTInst|GPTOut|Manual)/dataset\.json$", r"(^|/)dataset\.json$")
BENCHMARK = Benchmark(read, summarise, patterns=OWN, rules=IN_PUBLISHED_ORDER)


QUESTIONS = "question.jsonl"
VERDICTS: dict[str, int | None] = {"CHATGPT": 0, "VICUNA13B": 1, "TIE": None}


def published_rows(source: Path) -> Iterator[Row] | None:
    """Give the joined rows of the authors' folder (or of its `question.jsonl`); None where there is no such file."""
    questions = source if source.name == QUESTIONS else source / QUESTIONS
    return _joined(questions) if questions.is_file() else None


def read_fair_eval(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read a joined row, or one in LLMBar's layout."""
    if "verdict" not in row:
        yield from read(where, row)
        return
    pair = (row["output_1"], row["output_2"])
    yield labelled(where, need(where, row, "input"), pair, row["verdict"], category=row.get("category"))


def summarise_fair_eval(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy; parts of the authors' layout are the categories, the ties and the three-way figures."""
    if not any("category" in item.group.metadata for item in scored):
        return summarise(scored, how)
    parts = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "category").items())}
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
