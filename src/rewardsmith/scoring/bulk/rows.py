"""From a row of a file to what is asked of the scorer, and from its rewards to the columns that are added.

An input is a file, a folder or a data set of the hub, with the fingerprints that say whether a job may go on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith._version import __version__
from rewardsmith.data.detecting import prompt_column, read_rows, system_column, with_system
from rewardsmith.data.formats.cells import check_ids, check_list, find_unreadable, require
from rewardsmith.data.formats.pairs import group_fields, join_prompt
from rewardsmith.errors import ConfigError, RowError, row_error
from rewardsmith.files.tables import hub_files, is_hub_id
from rewardsmith.records import Completion, ScoreRequest, fingerprint
from rewardsmith.scoring.answers import NO_ANSWER

if TYPE_CHECKING:
    from rewardsmith.scoring.opening import ModelSpec
    from rewardsmith.scoring.scorer import RewardScorer

OnBroken = Callable[[RowError], None]
Rows = Iterator[tuple[str, Mapping[str, Any]]]
# What rewards and their order depend on; the rooms above only call these.
CODE = ("records.py", "files", "data", "models", "scoring")
logger = logging.getLogger(__name__)
STEPS_GIVEN = (
    "'completions' beside 'labels' are the steps of one solution, and would be scored as answers; give the solution as "
    "'completion', its steps divided by the model's separator or empty lines"
)
Entry = tuple[str, Mapping[str, Any] | RowError]
# Form -> the columns that make it; the first that fits is taken.
FORMS: dict[str, tuple[str, ...]] = {
    "ids": ("chosen_ids", "rejected_ids"),
    "pair": ("chosen", "rejected"),
    "completions": ("completions",),
    "completion": ("completion",),
    "messages": ("messages",),
    "text": ("text",),
}


@dataclass(frozen=True)
class HubInput:
    """A data set of the hub, or a local folder in the layout of one.

    It is downloaded whole, once, since a job reads its input several times; memory does not grow with it.

    Args:
        name: "owner/name", or "owner/name/configuration".
        split: may be left out when there is only one.
    """

    name: str
    split: str | None = None

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The Arrow files of the split. Raises DataError when it cannot be had."""
        return hub_files(self.name, self.split)

    def rows(self, on_broken: OnBroken | None = None) -> Rows:
        """Yield (where, row), rows counted from 1 through all files."""
        number = 0
        for path in self.files:
            for _, row in read_rows(path, on_broken=on_broken):
                number += 1
                yield f"{self.name}:row {number}", row

    def hash(self) -> str:
        """Return the SHA-256 of the contents, wherever they are cached."""
        return fingerprint([hash_files(path) for path in self.files])

    def __str__(self) -> str:
        return self.name


Source = Path | HubInput


def find_source(name: str, split: str | None = None) -> Source:
    """Return the file or folder of that name, or else the data set of the hub. Raises ConfigError."""
    path = Path(name)
    if path.exists():
        return path.resolve()
    if is_hub_id(name):
        return HubInput(name, split)
    raise ConfigError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")


def read_source(source: Source, split: str | None, on_broken: OnBroken | None = None) -> Rows:
    """Return (where, row) for every row of a source."""
    if isinstance(source, HubInput):
        return source.rows(on_broken)
    return read_rows(source, split=split, on_broken=on_broken)


def hash_source(source: Source) -> str:
    """Return the SHA-256 of what a source holds."""
    return source.hash() if isinstance(source, HubInput) else hash_files(source)


def spec_fingerprints(spec: ModelSpec, model: RewardScorer) -> dict[str, str]:
    """Return what the rewards of a loaded model depend on, beside the input."""
    how = spec.options
    own = {"combine": f"{how.combine} {how.penalty:g}", "aggregate": how.aggregate, "truncation": model.truncation}
    return {**_model_fingerprints(model, spec.paths[0]), **own}


def _model_fingerprints(model: RewardScorer, path: str) -> dict[str, str]:
    """Return weights, template, precision, batches and package versions of a loaded model."""
    from rewardsmith.models.compiling import is_compiled
    from rewardsmith.models.contract import hub_source, package_versions, template_hash

    if len(model.members) > 1:
        own = [_model_fingerprints(member, member.name) for member in model.members]
        return {key: fingerprint([prints[key] for prints in own]) for key in own[0]}
    folder = Path(path)
    config = model.model.config
    weights: tuple[object, ...] = (
        model.model.dtype,
        model.model.device.type,
        model.tokens_per_batch,
        model.capabilities.shares_prefix,
    )
    if is_compiled(model.model):
        weights = (*weights, "compiled")
    return {
        "model": hash_files(folder) if folder.is_dir() else hub_source(config) or path,
        "template": fingerprint([str(template_hash(model.tokenizer)), model.text_rule]),
        "dtype": " ".join(map(str, weights)),
        "packages": " ".join(f"{name}={version}" for name, version in sorted(package_versions().items())),
    }


def code_fingerprint() -> str:
    """Return the version and a hash of the source files that scoring runs through."""
    root = Path(__file__).resolve().parents[2]
    files = [path for room in CODE for path in ([root / room] if room.endswith(".py") else _sources(root / room))]
    texts = [text for path in files for text in (path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))]
    return f"{__version__} {fingerprint(texts)[:16]}"


def _sources(room: Path) -> list[Path]:
    return sorted(room.rglob("*.py"))


def hash_files(path: Path) -> str:
    """Return one SHA-256 of a file, or of the names and contents of all files of a folder that are not hidden.

    Raises:
        ConfigError: there is nothing at `path`.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if path.is_file():
        return _hash_file(path)
    files = [f for f in sorted(path.rglob("*")) if f.is_file() and not f.relative_to(path).as_posix().startswith(".")]
    return fingerprint([text for file in files for text in (file.relative_to(path).as_posix(), _hash_file(file))])


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class AskedRow:
    """What a row asks to be scored.

    Args:
        where: names the row.
        request: with `NO_ANSWER` at the place of each answer that cannot be read.
        names: what the row calls its answers.
        lost: why an answer has no reward, by its place.
    """

    where: str
    request: ScoreRequest
    names: tuple[str, ...]
    lost: dict[int, Exception]


def form_of(columns: Iterable[str]) -> str | None:
    """Name the form of a row by its columns; None when it holds nothing that can be scored."""
    names = set(columns)
    return next((form for form, needed in FORMS.items() if names.issuperset(needed)), None)


def read_request(row: Mapping[str, Any], where: str) -> ScoreRequest:
    """Read what a row asks to be scored.

    Raises:
        DataError: no column can be scored, or one is empty or of a wrong type; the message names row and column.
    """
    asked = read_answers(row, where)
    if asked.lost:
        raise next(iter(asked.lost.values()))
    return asked.request


def read_answers(row: Mapping[str, Any], where: str) -> AskedRow:
    """Read what a row asks to be scored, without the answers that cannot be read.

    Raises:
        DataError: no column can be scored, or none of its answers can be read; the message names row and column.
    """
    form = form_of(row)
    if form is None:
        columns = ", ".join(map(str, row)) or "none"
        wanted = "completion, completions, chosen and rejected, text or messages"
        raise row_error(where, "unknown columns", f"nothing to score in the columns ({columns}); give {wanted}")
    names = FORMS[form]
    if form == "ids":
        return _read_ids(row, names, where)
    row = row if form == "text" else asked_row(row, form, where)
    prompt = None if form in ("text", "messages") else row.get("prompt")
    sides = [row[name] for name in names]
    if form == "completions":
        if isinstance(row.get("labels"), list):
            raise row_error(where, "judged steps", STEPS_GIVEN)
        sides = [_answer(entry) for entry in check_list(require(row, "completions", where), where, "completions")]
        names = tuple(f"completions[{place}]" for place in range(len(sides)))
        if not sides:
            raise row_error(where, "empty list", "column 'completions' is empty; give at least one or remove the row")
    lost: dict[int, Exception] = dict(find_unreadable(sides, where, names))
    kept = [place for place in range(len(sides)) if place not in lost]
    if not kept:
        raise lost[0]
    read_as = [names[place] for place in kept]
    asked, completions = join_prompt(prompt, [sides[place] for place in kept], where, "prompt", read_as)
    fields = group_fields(row, where, set(row) - {"tools", "chat_template_kwargs"})
    answers = _with_gaps(completions, lost, len(sides))
    return AskedRow(
        where, ScoreRequest(asked, answers, fields.get("tools"), fields.get("chat_template_kwargs")), names, lost
    )


def _read_ids(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> AskedRow:
    found: list[Completion] = []
    lost: dict[int, Exception] = {}
    for place, name in enumerate(names):
        try:
            found.append(check_ids(require(row, name, where), where, name))
        except RowError as error:
            lost[place] = error
    if not found:
        raise lost[0]
    return AskedRow(where, ScoreRequest("", _with_gaps(found, lost, len(names))), names, lost)


def _with_gaps(answers: Sequence[Completion], lost: Mapping[int, Exception], count: int) -> tuple[Completion, ...]:
    stream = iter(answers)
    return tuple(NO_ANSWER if place in lost else next(stream) for place in range(count))


def add_rewards(
    row: Mapping[str, Any],
    rewards: Sequence[float | None],
    column: str = "reward",
    parts: Sequence[Any] | None = None,
    outcomes: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Return the row with its rewards: `reward`, `rewards`, or `chosen_reward` and `rejected_reward`.

    `parts`, one entry a reward, go into columns of the same names with `_parts` at the end. `outcomes`, the fields of
    an `Outcomes`, go into `chosen_probability` and `rejected_probability`, or `probabilities`, and `tie_probability`
    where the model knows ties.

    Raises:
        ConfigError: the row holds such a column already.
    """
    added = _columns(row, rewards, column)
    if parts is not None:
        added |= {f"{name}_parts": value for name, value in _columns(row, parts, column).items()}
    if outcomes is not None:
        added |= _columns(row, (outcomes.get("first"), outcomes.get("second")), "probability")
        added |= {} if outcomes.get("tie") is None else {"tie_probability": outcomes["tie"]}
    taken = next((name for name in added if name in row), None)
    if taken:
        raise ConfigError(f"the input has a column {taken!r} already; name the new one with --column")
    return {**row, **added}


def _columns(row: Mapping[str, Any], values: Sequence[Any], column: str) -> dict[str, Any]:
    form = form_of(row)
    if form in ("pair", "ids"):
        return {f"chosen_{column}": values[0], f"rejected_{column}": values[1]}
    several = "probabilities" if column == "probability" else f"{column}s"
    return {several: list(values)} if form == "completions" else {column: values[0]}


def asked_row(row: Mapping[str, Any], form: str, where: str) -> Mapping[str, Any]:
    """Return the row with what was asked in `prompt`, and the system message of a column of its own at its place."""
    if form != "messages":
        given = [str(name) for name, value in row.items() if value is not None]
        column = next((name for name in ("prompt", "context") if name in given), None) or prompt_column(given)
        if column is not None and column != "prompt":
            row = {**row, "prompt": row[column]}
            if column != "context":
                _say_prompt(column)
    texts = [str(name) for name, value in row.items() if isinstance(value, str) and value]
    said = "system" if row.get("system") else system_column(texts)
    if said is None:
        return row
    return with_system(row if said == "system" else {**row, "system": row[said]}, where)


@cache
def _say_prompt(column: str) -> None:
    logger.warning("column %r is read as the prompt", column)


def _answer(entry: object) -> Any:
    """Unwrap NeMo's `{"completion": ..., "rank": ...}`."""
    return entry["completion"] if isinstance(entry, Mapping) and "completion" in entry else entry
