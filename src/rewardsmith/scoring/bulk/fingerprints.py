"""What rewards depend on, as short texts that a ledger compares: weights, template, precision, code, files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from rewardsmith._version import __version__
from rewardsmith.errors import ConfigError
from rewardsmith.records import fingerprint

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
