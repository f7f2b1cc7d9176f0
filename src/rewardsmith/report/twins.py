"""`evaluate`, `compare`, `score_file` and `export`: what the commands do, from Python, with the commands' names.

Their results print short, show themselves in a notebook (`_repr_html_`), give figures (`figures()`) and plain values
(`to_dict()`), and `rewardsmith.report.write_report([result], "report.html")` makes a page of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from rewardsmith.clients.opening import open_scorer
from rewardsmith.data.loading import ReadOptions
from rewardsmith.errors import require_place
from rewardsmith.evaluation import as_scorer
from rewardsmith.evaluation.comparing import ModelComparison, compare_scorers
from rewardsmith.evaluation.evaluating import Evaluation
from rewardsmith.evaluation.evaluating import evaluate as evaluate_scorer
from rewardsmith.evaluation.scorers import scores_blind
from rewardsmith.files.progress import ProgressBar
from rewardsmith.records import Scorer
from rewardsmith.scoring.bulk.job import BulkJob, BulkReport, advance
from rewardsmith.scoring.bulk.job import score_file as score_into
from rewardsmith.scoring.bulk.rows import find_source, spec_fingerprints
from rewardsmith.scoring.exporting import ExportOptions, ExportReport, export_model
from rewardsmith.scoring.opening import ModelOptions, ModelSpec
from rewardsmith.scoring.scorer import RewardScorer
from rewardsmith.stats.intervals import Resampling


def evaluate(
    model: object,
    data: object,
    *,
    how: Resampling | None = None,
    prompt_blind: bool | None = None,
    **load_options: Unpack[ReadOptions],
) -> Evaluation:
    """Evaluate a reward model, or anything that scores, on any preference data.

    Args:
        model: folder, hub id, address of a server, "module:function", a file of scores, "simulator:gold"; or a
            RewardModel, a client, or a function (prompt, completions) -> rewards.
        data: what `load_preferences` takes: a path, a hub id, rows, groups.
        how: number of bootstrap samples and seed.
        prompt_blind: also score every answer without its prompt, as a baseline; a second pass. None: yes, but for files
            of scores, as the command does.
        load_options: passed to `load_preferences`.

    Example:
        >>> rows = [{"prompt": f"{i}+{i}?", "chosen": f"{i + i}", "rejected": "I do not know"} for i in range(9)]
        >>> evaluate(lambda prompt, answers: [-len(a) for a in answers], rows).metrics["accuracy"].value
        1.0
    """
    scorer = _scorer(model)
    blind = scores_blind(scorer, prompt_blind)
    return evaluate_scorer(scorer, data, how=how, prompt_blind=blind, **load_options)


def compare(
    a: object, b: object, data: object, *, how: Resampling | None = None, **load_options: Unpack[ReadOptions]
) -> ModelComparison:
    """Compare two reward models on the same rows, with paired tests; `a`, `b` and `data` as `evaluate` takes them.

    Raises:
        DataError: no judgement prefers a side.

    Example:
        >>> rows = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": "no"} for i in range(9)]
        >>> longest, shortest = (lambda p, xs: [len(x) for x in xs]), (lambda p, xs: [-len(x) for x in xs])
        >>> compare(longest, shortest, rows).overall.difference.value
        1.0
    """
    return compare_scorers((_scorer(a), _scorer(b)), data, load_options, how=how)


def score_file(
    model: str | Path | RewardScorer, data: str | Path, out: str | Path, how: ModelOptions | None = None, **job: Any
) -> BulkReport:
    """Score every row of a file of any size and write it with its rewards; killed and run again, it goes on.

    Args:
        model: folder or hub id, or a model that `RewardModel.from_pretrained` loaded.
        data: JSON Lines, JSON, CSV, Parquet, Arrow, a folder, or a data set of the hub.
        out: .jsonl (.gz, .zst), .json, .csv or .parquet.
        how: how the model is opened, where it is given by its place.
        job: fields of `BulkJob`: split, column, rows_per_part, shard, overwrite, with_parts, limit, columns.

    Raises:
        CheckpointError, ConfigError: a job with another model, input or options was begun at `out`.
        DataError: the input cannot be read.

    Example:
        `score_file("my-reward", "answers.jsonl", "scored.jsonl", limit=100).scored`
    """
    work = BulkJob(find_source(require_place(data, "data"), job.get("split")), Path(require_place(out, "out")), **job)
    named = model.name if isinstance(model, RewardScorer) else require_place(model, "model")
    spec = ModelSpec.of(named, options=how)
    scorer = model if isinstance(model, RewardScorer) else spec.open()
    with ProgressBar("scoring") as bar:
        return score_into(scorer, work, spec_fingerprints(spec, scorer), advance(bar, work.shard))


def export(model: str | Path, out: str | Path, **options: Any) -> ExportReport:
    """Write any reward model in the standard layout, an adapter merged, and compare the rewards of both.

    Args:
        model: folder or hub id of a reward model of any tool.
        out: folder to write; it appears whole or not at all.
        options: fields of `ExportOptions`: dtype, drop_bias, overwrite, trust_remote_code, verify.

    Raises:
        CheckpointError: it cannot be loaded, or the copy gives other rewards.
        ConfigError: the standard layout cannot hold such a model, or `out` is taken.

    Example:
        `export("my-adapter", "my-reward").difference`
    """
    return export_model(require_place(model, "model"), require_place(out, "out"), ExportOptions(**options))


def _scorer(model: object) -> Scorer:
    return open_scorer(str(model)) if isinstance(model, str | Path) else as_scorer(model)
