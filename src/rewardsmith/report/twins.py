"""`evaluate`, `compare`, `score_file`, `rank` and `export`: what the commands do, from Python, with their names.

Their results print short, show themselves in a notebook (`_repr_html_`), give figures (`figures()`) and plain values
(`to_dict()`), and `rewardsmith.report.write_report([result], "report.html")` makes a page of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack

from rewardsmith.clients.opening import ScorerOptions, open_given, reading_of, resampling_of
from rewardsmith.data.columns import Columns
from rewardsmith.errors import ConfigError, require_known, require_place
from rewardsmith.evaluation.comparing import ModelComparison, compare_scorers
from rewardsmith.evaluation.evaluating import Evaluation
from rewardsmith.evaluation.evaluating import evaluate as evaluate_scorer
from rewardsmith.evaluation.scorers import scores_blind
from rewardsmith.files.progress import ProgressBar
from rewardsmith.scoring import ranking
from rewardsmith.scoring.bulk.job import BulkJob, BulkReport, advance
from rewardsmith.scoring.bulk.job import score_file as score_into
from rewardsmith.scoring.bulk.ledger import Shard
from rewardsmith.scoring.bulk.rows import find_source, spec_fingerprints
from rewardsmith.scoring.exporting import ExportOptions, ExportReport, export_model
from rewardsmith.scoring.opening import ModelOptions, ModelSpec, OpenOptions, count_tokens_about
from rewardsmith.scoring.ranking import Choice, RankReport
from rewardsmith.scoring.scorer import RewardScorer
from rewardsmith.stats.intervals import Resampling

# Flags of `score` that are fields of a job; the source and the output are arguments.
JOB = tuple(field.name for field in fields(BulkJob) if field.name not in ("source", "out"))


def evaluate(
    model: object,
    data: object,
    *,
    how: Resampling | None = None,
    prompt_blind: bool | None = None,
    ensemble: Sequence[str] = (),
    **options: Unpack[ScorerOptions],
) -> Evaluation:
    """Evaluate a reward model, or anything that scores, on any preference data.

    Args:
        model: folder, hub id, address of a server, "module:function", a file of scores, "simulator:gold"; or a
            RewardModel, a client, or a function (prompt, completions) -> rewards.
        data: what `load_preferences` takes: a path, a hub id, rows, groups.
        how: number of bootstrap samples and seed, in place of `resamples` and `seed`.
        prompt_blind: also score every answer without its prompt, as a baseline; a second pass. None: yes, but for files
            of scores, as the command does.
        ensemble: further members of a model.
        options: how the data are read (as `load_preferences`) and how a model that is named is run (`ModelOptions`:
            device, dtype, tokens_per_batch, truncate_prompt, ...), each as the command's flag of its name.

    Example:
        >>> rows = [{"prompt": f"{i}+{i}?", "chosen": f"{i + i}", "rejected": "I do not know"} for i in range(9)]
        >>> evaluate(lambda prompt, answers: [-len(a) for a in answers], rows).metrics["accuracy"].value
        1.0
    """
    require_known("evaluate()", options, ScorerOptions.__annotations__)
    scorer = open_given(model, options, data, ensemble)
    blind = scores_blind(scorer, prompt_blind)
    how = how or resampling_of(options, Resampling())
    return evaluate_scorer(scorer, data, how=how, prompt_blind=blind, **reading_of(options))


def compare(
    a: object, b: object, data: object, *, how: Resampling | None = None, **options: Unpack[ScorerOptions]
) -> ModelComparison:
    """Compare two reward models on the same rows, with paired tests; arguments are those of `evaluate`.

    Raises:
        DataError: no judgement prefers a side.

    Example:
        >>> rows = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": "no"} for i in range(9)]
        >>> longest, shortest = (lambda p, xs: [len(x) for x in xs]), (lambda p, xs: [-len(x) for x in xs])
        >>> compare(longest, shortest, rows).overall.difference.value
        1.0
    """
    require_known("compare()", options, ScorerOptions.__annotations__)
    named = [isinstance(model, str | Path) for model in (a, b)]
    # How a model is run holds for the one that is named; where none is, it is refused.
    first, second = (
        open_given(model, options if is_named or not any(named) else {}, data)
        for model, is_named in zip((a, b), named, strict=True)
    )
    names = (str(a) if named[0] else first.name, str(b) if named[1] else second.name)
    how = how or resampling_of(options, Resampling())
    return compare_scorers((first, second), data, reading_of(options), names, how)


class JobOptions(OpenOptions, total=False):
    """The fields of a `BulkJob`, and how a model is run."""

    split: str | None
    column: str
    rows_per_part: int
    shard: str | Shard
    overwrite: bool
    with_parts: bool
    probabilities: bool
    limit: int | None
    columns: Columns | None


class RankOptions(JobOptions, total=False):
    """What is taken, as the fields of a `Choice`, beside the options of a job."""

    take: str
    k: int
    min_reward: float
    min_margin: float
    ensemble: Sequence[str]


def score_file(
    model: str | Path | RewardScorer,
    data: str | Path,
    out: str | Path,
    how: ModelOptions | None = None,
    *,
    ensemble: Sequence[str] = (),
    **options: Unpack[JobOptions],
) -> BulkReport:
    """Score every row of a file of any size and write it with its rewards; killed and run again, it goes on.

    Args:
        model: folder or hub id, or a model that `RewardModel.from_pretrained` loaded.
        data: JSON Lines, JSON, CSV, Parquet, Arrow, a folder, or a data set of the hub.
        out: .jsonl (.gz, .zst), .json, .csv or .parquet.
        how: how a model that is named is run; or its fields, such as device and truncate_prompt, among the options.
        ensemble: further members of a model.
        options: fields of `BulkJob` (split, column, rows_per_part, shard, overwrite, with_parts, probabilities, limit,
            columns) and of `ModelOptions`.

    Raises:
        CheckpointError, ConfigError: a job with another model, input or options was begun at `out`.
        DataError: the input cannot be read.

    Example:
        `score_file("my-reward", "answers.jsonl", "scored.jsonl", limit=100).scored`
    """
    require_known("score_file()", options, (*JOB, *OpenOptions.__annotations__))
    job: dict[str, Any] = {name: value for name, value in options.items() if name in JOB}
    if isinstance(job.get("shard"), str):
        job["shard"] = Shard.parse(job["shard"])
    work = BulkJob(find_source(require_place(data, "data"), job.get("split")), Path(require_place(out, "out")), **job)
    given: dict[str, Any] = {name: value for name, value in options.items() if name not in JOB}
    if given and (how is not None or isinstance(model, RewardScorer)):
        where = "in how" if how is not None else "where the model is opened, and this one is open already"
        raise ConfigError(f"{', '.join(given)}: how a model is run is said {where}")
    named = model.name if isinstance(model, RewardScorer) else require_place(model, "model")
    spec = ModelSpec.of(named, ensemble, how or ModelOptions(**given, expected_tokens=count_tokens_about(data)))
    spec.require_outside(work.out)
    scorer = model if isinstance(model, RewardScorer) else spec.open()
    with ProgressBar("scoring") as bar:
        return score_into(scorer, work, spec_fingerprints(spec, scorer), advance(bar, work.shard))


def rank(
    source: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    *,
    model: str | Path | RewardScorer | None = None,
    **options: Unpack[RankOptions],
) -> RankReport:
    """Write the best answers of each prompt, or best against worst: of scored rows, or of any rows by a model.

    Args:
        source: what `score_file` wrote; with a model anything that it reads.
        out: .jsonl (.gz, .zst), .json, .csv or .parquet.
        choice: what is taken; or its fields among the options: take, k, min_reward, min_margin.
        model: scores the answers first, into OUT.scored.jsonl (resumable).
        options: column, split, limit, overwrite and columns; with a model also the other options of `score_file`.

    Raises:
        ConfigError: the output is there already, or would change the input.
        DataError: a row without rewards.

    Example:
        `rank("scored.jsonl", "pairs.jsonl", take="pairs", k=2)`
    """
    of_choice, of_rank = ("take", "k", "min_reward", "min_margin"), ("column", "split", "limit", "overwrite", "columns")
    of_model = (*JOB, *OpenOptions.__annotations__, "ensemble") if model is not None else of_rank
    require_known("rank()" if model is not None else "rank() without a model", options, (*of_choice, *of_model))
    given: dict[str, Any] = dict(options)
    if (taken := {name: given.pop(name) for name in of_choice if name in given}) and choice is not None:
        raise ConfigError(f"{', '.join(taken)}: what is taken is said in choice; give one of them")
    choice = choice or Choice(**taken)
    place, out = require_place(source, "source"), Path(require_place(out, "out"))
    ranking.check_place(place, out, given.get("overwrite", False))
    if model is None:
        return ranking.rank(place, out, choice, **given)
    scored = out.with_name(f"{out.name}.scored.jsonl")
    score_file(model, place, scored, **given)
    # What was scored here has our names already.
    kept = {name: given[name] for name in ("column", "limit", "overwrite") if name in given}
    return ranking.rank(scored, out, choice, **kept)


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
    require_known("export()", options, ExportOptions.__dataclass_fields__)
    return export_model(require_place(model, "model"), require_place(out, "out"), ExportOptions(**options))
