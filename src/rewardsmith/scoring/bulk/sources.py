"""What a bulk job reads: a file, a folder, or a data set of the hub kept as Arrow files in its client's cache.

Fingerprints of what is read, and of the model and code that score it, say which finished work is of the same job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith._version import __version__
from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import ConfigError, RowError
from rewardsmith.files.hub import hub_files, is_hub_id
from rewardsmith.records import fingerprint

OnBroken = Callable[[RowError], None]
Rows = Iterator[tuple[str, Mapping[str, Any]]]


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
        """Give (where, row), rows counted from 1 through all files."""
        number = 0
        for path in self.files:
            for _, row in read_rows(path, on_broken=on_broken):
                number += 1
                yield f"{self.name}:row {number}", row

    def hash(self) -> str:
        """Give the SHA-256 of the contents, wherever they are cached."""
        return fingerprint([hash_files(path) for path in self.files])

    def __str__(self) -> str:
        return self.name


Source = Path | HubInput


def find_source(name: str, split: str | None = None) -> Source:
    """Give the file or folder of that name, or else the data set of the hub. Raises ConfigError."""
    path = Path(name)
    if path.exists():
        return path.resolve()
    if is_hub_id(name):
        return HubInput(name, split)
    raise ConfigError(f"{name}: no such file or folder, and not a hub id like 'owner/name'")


def read_source(source: Source, split: str | None, on_broken: OnBroken | None = None) -> Rows:
    """Give (where, row) for every row of a source."""
    if isinstance(source, HubInput):
        return source.rows(on_broken)
    return read_rows(source, split=split, on_broken=on_broken)


def hash_source(source: Source) -> str:
    """Give the SHA-256 of what a source holds."""
    return source.hash() if isinstance(source, HubInput) else hash_files(source)


if TYPE_CHECKING:
    from rewardsmith.scoring.opening import ModelSpec
    from rewardsmith.scoring.scorer import RewardScorer

# What rewards and their order depend on; the rooms above only call these.
CODE = ("records.py", "files", "data", "models", "scoring")


def spec_fingerprints(spec: ModelSpec, model: RewardScorer) -> dict[str, str]:
    """Return what the rewards of a loaded model depend on, beside the input."""
    how = spec.options
    own = {"combine": f"{how.combine} {how.penalty:g}", "aggregate": how.aggregate, "truncation": model.truncation}
    return {**_model_fingerprints(model, spec.paths[0]), **own}


def _model_fingerprints(model: RewardScorer, path: str) -> dict[str, str]:
    """Return weights, template, precision, batches and package versions of a loaded model."""
    from rewardsmith.models.contract import package_versions, template_hash

    if len(model.members) > 1:
        own = [_model_fingerprints(member, member.name) for member in model.members]
        return {key: fingerprint([prints[key] for prints in own]) for key in own[0]}
    folder = Path(path)
    config = model.model.config
    weights = model.model.dtype, model.model.device.type, model.tokens_per_batch, model.capabilities.shares_prefix
    return {
        "model": hash_files(folder) if folder.is_dir() else f"{path}@{config._commit_hash}",
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
