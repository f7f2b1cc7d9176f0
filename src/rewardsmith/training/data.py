"""The data of a run: what its settings name, mixtures too, split by prompt into training and held-out groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any

from rewardsmith.data.columns import map_columns, parse_columns, parse_score_margin
from rewardsmith.data.detecting import parse_row, read_rows
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.merging import MergedGroups, merge_groups
from rewardsmith.data.mixing import MixtureSource, Portion, describe_mixture, mix_groups
from rewardsmith.data.splitting import hold_out
from rewardsmith.errors import ConfigError, DataError, nearest
from rewardsmith.files.settings import option
from rewardsmith.files.tables import in_subset, looks_local, read_hub, stream_hub
from rewardsmith.records import PreferenceGroup, as_plain, fingerprint, text_key
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.streams import DatasetStream, FileStream, RowStream

DEFAULT_HELD_OUT = 0.1
SAMPLED_GROUPS = 10_000
SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".jsonl.zst", ".csv", ".tsv", ".parquet", ".arrow")


@dataclass
class TrainingData:
    """Groups to train on and held-out groups, and what is said about where they come from."""

    train: list[PreferenceGroup] | RowStream
    held_out: list[PreferenceGroup]
    notes: list[str] = field(default_factory=list)

    def text_fingerprint(self) -> str | None:
        """Return a SHA-256 digest of every text and comparison, in order; that of the contract is of token ids.

        That of a stream is of the names and sizes of its files, or None.
        """
        if isinstance(self.train, RowStream):
            return self.train.fingerprint()
        return fingerprint(list(_texts([*self.train, *self.held_out])))

    def merged(self) -> TrainingData:
        """Return the same data, of which it is said that no two groups share a prompt."""
        assert isinstance(self.train, list)
        return TrainingData(MergedGroups(self.train), MergedGroups(self.held_out), self.notes)

    def first_groups(self) -> list[PreferenceGroup]:
        """Return what a tokenizer is trained on: all groups, or the first of a stream."""
        return self.train.sample(SAMPLED_GROUPS) if isinstance(self.train, RowStream) else self.train


def load_training_data(script: ScriptArguments, mixture: DatasetMixtureConfig, merge: bool) -> TrainingData:
    """Load what the flags name.

    Raises:
        ConfigError: no data set, or one that does not exist.
        DataError: a row that cannot be read, or no comparison left.
    """
    if mixture.streaming or script.dataset_streaming:
        data = _open_stream(script, mixture)
    else:
        data = _load_several(mixture, script, merge) if mixture.datasets else _load_one(script, merge)
    if script.eval_dataset_name:
        groups, said = _load(script.eval_dataset_name, script, merge, split=None, limit=script.eval_limit)
        if not any(group.comparisons or group.ratings for group in groups):
            raise DataError(f"no comparison to evaluate on ({'; '.join(said)}); check --eval_dataset_name")
        data.held_out = groups
    if script.dataset_config and Path(str(script.dataset_name)).expanduser().exists():
        data.notes.append(f"dataset_config={script.dataset_config!r} is not used: it is for data sets of the hub")
    share = mixture.test_split_size
    if isinstance(data.train, RowStream):
        return data
    if not data.held_out and (share is None or share > 0):
        share = DEFAULT_HELD_OUT if share is None else share
        data = _hold_out(data, share)
    _require_comparisons(data)
    return data.merged() if merge else data


def require_stream_settings(config: RewardConfig, is_stream: bool) -> None:
    """Refuse a stream without a number of steps, and a buffer without a stream; rows of a stream are not merged."""
    if is_stream and config.max_steps < 0:
        raise ConfigError("streaming needs --max_steps: how many rows a stream has is not known before its end")
    if not is_stream and config.shuffle_buffer:
        raise ConfigError("shuffle_buffer is for --streaming; rows at hand are shuffled as a whole: leave it out")
    if is_stream:
        config.merge_prompts = False


def _open_stream(script: ScriptArguments, mixture: DatasetMixtureConfig) -> TrainingData:
    """Open a file, a folder of them or a data set of the hub, to be read while training."""
    named = {
        "datasets": mixture.datasets,
        "test_split_size": mixture.test_split_size,
        "train_limit": script.train_limit,
    }
    given = next((name for name, value in named.items() if value), None)
    if given:
        raise ConfigError(
            f"{given} needs all rows at hand, and streaming reads them one by one; give one --dataset_name, "
            "--eval_dataset_name for held-out rows, and --max_steps"
        )
    name = script.dataset_name
    if not name:
        raise ConfigError("no data: set --dataset_name to a file, a folder or a hub id")
    notes = [f"{name}: read as a stream; prompts are not merged, and nothing is held out of it"]
    path = Path(name).expanduser()
    if not path.exists():
        hub = in_subset(name, script.dataset_config)
        return TrainingData(DatasetStream(stream_hub(hub, script.dataset_train_split), name), [], notes)
    files = _split_files(path) if path.is_dir() else {}
    split = script.dataset_train_split
    source = files.get(split, path)
    options = (parse_columns(script.columns), parse_score_margin(script.score_margin))
    stream = FileStream(source, None if source is not path or path.is_file() else split, script.reader, *options)
    test = files.get(script.dataset_test_split)
    return TrainingData(stream, _load(str(test), script, False, None, script.eval_limit)[0] if test else [], notes)


def load_given(
    data: object, held_out: object, settings: tuple[Mapping[str, Any], Mapping[str, Any]], config: RewardConfig
) -> TrainingData:
    """Load what a caller of Python gives: what is named as the flags do, and rows, tables, or the splits of a mapping.

    Args:
        held_out: judgements to measure on; None takes those of `settings`.
        settings: fields of ScriptArguments and of DatasetMixtureConfig.

    Raises:
        ConfigError: settings of data that are named, for rows.
        DataError: rows that cannot be read, or no comparison left.
    """
    script, mixture = ScriptArguments(**settings[0]), DatasetMixtureConfig(**settings[1])
    require_stream_settings(config, mixture.streaming or script.dataset_streaming)
    if isinstance(held_out, str | Path):
        script.eval_dataset_name, held_out = str(held_out), None
    if data is None or isinstance(data, str | Path):
        script.dataset_name = None if data is None else str(data)
        # Nothing is held out of the data where held-out rows are at hand.
        mixture.test_split_size = 0 if held_out is not None else mixture.test_split_size
        groups = load_training_data(script, mixture, config.merges_rows)
    else:
        groups = from_rows(data, script, mixture, config.merges_rows, holds_out=held_out is None)
    if held_out is not None:
        groups.held_out = _load(held_out, script, config.merges_rows, None, script.eval_limit)[0]
    return groups.merged() if config.merges_rows else groups


def from_rows(
    data: object, script: ScriptArguments, mixture: DatasetMixtureConfig, merge: bool, *, holds_out: bool = True
) -> TrainingData:
    """Load rows, or the splits of a mapping, and hold out a share where there is no test split."""
    if mixture.datasets or mixture.streaming or script.dataset_streaming or script.dataset_config:
        raise ConfigError(
            "datasets, streaming and dataset_config are for data that are named; give their path or hub id"
        )
    test: object = None
    if isinstance(data, Mapping):
        train, test = (data.get(name) for name in (script.dataset_train_split, script.dataset_test_split))
        if train is None:
            held = ", ".join(map(str, data))
            raise ConfigError(f"no split {script.dataset_train_split!r} among {held}; name one as dataset_train_split")
        data = train
    rows, notes = _load(data, script, merge, None, script.train_limit)
    groups = TrainingData(rows, [], notes)
    if script.eval_dataset_name:
        test = script.eval_dataset_name
    if test is not None:
        groups.held_out = _load(test, script, merge, None, script.eval_limit)[0]
    elif holds_out and (mixture.test_split_size is None or mixture.test_split_size > 0):
        groups = _hold_out(groups, mixture.test_split_size or DEFAULT_HELD_OUT)
    _require_comparisons(groups)
    return groups.merged() if merge else groups


def _load_one(script: ScriptArguments, merge: bool) -> TrainingData:
    """Load `dataset_name`: a file, a folder with a file per split, a saved data set or a hub id."""
    name = script.dataset_name
    if not name:
        raise ConfigError("no data: set --dataset_name to a file, a folder or a hub id")
    path = Path(name).expanduser()
    files = _split_files(path) if path.is_dir() else {}
    if files:
        if script.dataset_train_split not in files:
            near = nearest(script.dataset_train_split, list(files))
            hint = f"; did you mean {near!r}?" if near else ""
            raise ConfigError(f"{name}: no split {script.dataset_train_split!r} among {', '.join(sorted(files))}{hint}")
        train, notes = _load(str(files[script.dataset_train_split]), script, merge, None, script.train_limit)
        test = files.get(script.dataset_test_split)
        held_out = _load(str(test), script, merge, None, script.eval_limit)[0] if test else []
        return TrainingData(train, held_out, notes)
    if path.is_file():
        train, notes = _load(str(path), script, merge, None, script.train_limit)
        return TrainingData(train, [], notes)
    if not path.exists() and (looks_local(name) or name.endswith(SUFFIXES)):
        raise ConfigError(f"data file {name!r} does not exist; check --dataset_name")
    name = name if path.exists() else in_subset(name, script.dataset_config)
    train, notes = _load(name, script, merge, script.dataset_train_split, script.train_limit)
    try:
        held_out, _ = _load(name, script, merge, script.dataset_test_split, script.eval_limit)
    except (DataError, ConfigError):
        # Not every data set has a test split; a share of the prompts is held out instead.
        held_out, notes = [], [*notes, f"no split {script.dataset_test_split!r}: held out by prompt instead"]
    return TrainingData(train, held_out, notes)


def _load_several(mixture: DatasetMixtureConfig, script: ScriptArguments, merge: bool) -> TrainingData:
    """Load the data sets of a mixture; rows of one prompt merge across them."""
    entries = read_sources(mixture.datasets or [])
    # Groups are chosen before prompts are merged, as `data merge` does.
    groups, notes = load_mixture(entries, lambda source, split: _load(source, script, False, split, script.train_limit))
    if script.dataset_name:
        notes.append(f"datasets is read, and dataset_name={script.dataset_name!r} is not: give one of them")
    return TrainingData(merge_groups(groups) if merge else groups, [], notes)


def _load(
    source: object, script: ScriptArguments, merge: bool, split: str | None, limit: int | None
) -> tuple[list[PreferenceGroup], list[str]]:
    """Load one source and say what was read and dropped."""
    loaded = load_preferences(
        source,
        reader=script.reader,
        merge_prompts=merge,
        split=split,
        limit=limit,
        columns=parse_columns(script.columns),
        score_margin=parse_score_margin(script.score_margin),
    )
    paths = source if isinstance(source, list) and all(isinstance(one, str) for one in source) else []
    name = source if isinstance(source, str) else ", ".join(paths) or "rows"
    return list(loaded), [f"{name}: {loaded.report}", *loaded.report.notes]


def _split_files(folder: Path) -> dict[str, Path]:
    """Map split names to files of a folder that holds one file a split (`train.jsonl`, `test.jsonl`)."""
    if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        return {}
    files = (path for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIXES))
    return {path.name.split(".")[0]: path for path in files}


def _hold_out(data: TrainingData, share: float) -> TrainingData:
    """Hold out a share of the prompts, so that neither a prompt nor its near-duplicate is on both sides."""
    assert isinstance(data.train, list)
    train, held_out, report = hold_out(data.train, share)
    if not data.train:
        return data
    if not train or not held_out:
        alike = f", which nearly equal one another or fall short of the share {share:g}" if len(data.train) > 1 else ""
        note = f"nothing is held out of {len(data.train)} prompts{alike}; give --eval_dataset_name to measure accuracy"
        return TrainingData(data.train, [], [*data.notes, note])
    note = f"held out {len(held_out)} of {len(data.train)} prompts by their hash (test_split_size={share:g})"
    note += ", a second one: the first chose them all to train on, as `data split` does" if report.seed else ""
    left = len(data.train) - len(train) - len(held_out)
    notes = [f"left out {left} prompts that nearly equal prompts of both sides"] if left else []
    return TrainingData(train, held_out, [*data.notes, note, *notes])


def _require_comparisons(data: TrainingData) -> None:
    assert isinstance(data.train, list)
    if not data.train:
        raise DataError(f"no rows to train on ({'; '.join(data.notes)}); check --dataset_name")
    compares = any(group.comparisons for group in data.train)
    if not compares and not any(group.ratings for group in data.train):
        said = "; ".join(data.notes)
        raise DataError(f"no comparison is left to train on ({said}); compare the columns with those in docs/data.md")
    if compares and all(edge.better == edge.worse for group in data.train for edge in group.comparisons):
        raise DataError(
            f"every comparison has identical sides ({'; '.join(data.notes)}); check that chosen and rejected are "
            "different columns"
        )
    if compares and all(edge.is_tie for group in data.train for edge in group.comparisons):
        data.notes.append("every comparison is a tie: nothing can be learned about which answer is better")


def _texts(groups: Sequence[PreferenceGroup]) -> Iterator[str]:
    for group in groups:
        yield text_key(group.prompt)
        for completion in group.completions:
            yield str(as_plain(completion))
        for edge in group.comparisons:
            ties = "" if edge.tie_share is None else f",{edge.tie_share}"
            yield f"{edge.better},{edge.worse},{edge.outcome},{edge.margin},{edge.weight},{edge.probability}{ties}"


# Reads groups from a path or hub id (or several), a list of groups, and the split of it; says what was read.
Read = Callable[[Any, str | None], tuple[list[PreferenceGroup], list[str]]]


def read_sources(datasets: Sequence[Any]) -> list[MixtureSource]:
    """Read the entries of a recipe; a text is a path. Raises ConfigError naming entry, key and the nearest key."""
    entries = [MixtureSource.read(value, f"datasets entry {number}") for number, value in enumerate(datasets)]
    if len({entry.fraction is None for entry in entries}) > 1:
        raise ConfigError("datasets: set 'fraction' for every data set or for none")
    return entries


def load_mixture(entries: Sequence[MixtureSource], read: Read) -> tuple[list[PreferenceGroup], list[str]]:
    """Load every data set of a mixture and cut the larger ones, by the rules of `data merge`.

    Returns:
        The groups, not merged across data sets, and what was read.
    """
    sources, notes = [], []
    for number, entry in enumerate(entries):
        groups, said = _load_entry(entry, f"datasets entry {number}", read)
        sources.append(groups)
        notes += said
    chosen = mix_groups(sources, [Portion(entry.fraction) for entry in entries])
    notes += describe_mixture([entry.path for entry in entries], sources, chosen)
    return [group for source in chosen for group in source], notes


def _load_entry(entry: MixtureSource, where: str, read: Read) -> tuple[list[PreferenceGroup], list[str]]:
    """Load one data set: a file, the files that it names, a folder or a hub id."""
    source, split = _source(entry, where)
    if entry.columns is None:
        return read(source, split)
    sources = [source] if isinstance(source, str) else source
    rows = chain.from_iterable(read_rows(s, split=split) if Path(s).exists() else read_hub(s, split) for s in sources)
    columns = entry.columns
    groups, _ = read((parse_row(row, place) for place, row in map_columns(rows, columns)), None)
    return groups, [f"{entry.path}: {len(groups)} groups, columns {', '.join(columns)}"]


def _source(entry: MixtureSource, where: str) -> tuple[str | list[str], str | None]:
    """Return what to read of an entry, and which split of it."""
    folder = Path(entry.path) / (entry.data_dir or "")
    named = entry.data_files
    if isinstance(named, Mapping):
        if entry.split not in named:
            raise ConfigError(f"{where}: data_files has no {entry.split!r}, it has {', '.join(map(str, named))}")
        named = named[entry.split]
    if named:
        base = folder if folder.is_dir() else Path(entry.data_dir or "")
        patterns = [named] if isinstance(named, str) else list(named)
        files = [sorted(glob(str(base / str(pattern)))) for pattern in patterns]
        if not all(files):
            raise ConfigError(f"{where}: no file {str(base / str(patterns[files.index([])]))!r}; check data_files")
        return list(chain.from_iterable(files)), None
    if not Path(entry.path).exists():
        return in_subset(entry.path, "/".join(part for part in (entry.name, entry.data_dir) if part)), entry.split
    if entry.name:
        raise ConfigError(f"{where}: 'name' is for data sets of the hub, and {entry.path!r} is local; leave it out")
    if folder.is_dir():
        return str(folder), entry.split
    if entry.split != "train":
        raise ConfigError(f"{where}: {entry.path} is one file and has no split {entry.split!r}; leave split out")
    return str(folder), None


@dataclass
class ScriptArguments:
    """Where the data come from: TRL's flags, and `eval_dataset_name`, `reader` and the limits that are ours."""

    dataset_name: str | None = option(None, "Hub id, or a JSON, JSONL, CSV, TSV, Parquet or Arrow file or folder.")
    dataset_config: str | None = option(None, "Name of the hub data set's configuration.")
    dataset_train_split: str = option("train", "Split to train on.")
    dataset_test_split: str = option("test", "Split to evaluate on, where there is one.")
    dataset_streaming: bool = option(False, "As streaming.")
    ignore_bias_buffers: bool = option(False, "Accepted for compatibility.")
    eval_dataset_name: str | None = option(None, "Held-out data in a file or data set of its own.")
    reader: str | None = option(None, "Name of the format, where it cannot be told from the columns.")
    overwrite_output_dir: bool = option(False, "Replace the run that output_dir holds.")
    columns: list[str] | None = option(None, "Your columns as YOURS=OURS: question=prompt, left=answer_a, vote=winner.")
    score_margin: str | None = option(None, "Also take differences of scores, times this scale, as margins.")
    train_limit: int | None = option(None, "Read at most this many rows to train on.")
    eval_limit: int | None = option(None, "Read at most this many rows to evaluate on.")

    def __post_init__(self) -> None:
        for name in ("train_limit", "eval_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be a positive number of rows, not {value}; leave it out for all rows")


@dataclass
class DatasetMixtureConfig:
    """Several data sets at once (YAML only), and the held-out share."""

    datasets: list[str] | None = option(None, "Data sets of a mixture: paths, or mappings in YAML.")
    streaming: bool = option(False, "Read rows one by one while training, whatever their number; needs max_steps.")
    test_split_size: float | None = option(
        None, "Share of prompts held out, near-duplicates with them; 0.1 where there is no test split; 0: none."
    )
