"""What a model folder holds: its config, the names of its weights, these when asked for, or members of an ensemble."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rewardsmith.errors import CheckpointError, one_line
from rewardsmith.files.tables import is_hub_id, looks_local, split_revision
from rewardsmith.files.writing import write_json

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# LLaMA-Factory writes the head of a reward model into a file of its own.
VALUE_HEADS = ("value_head.safetensors", "value_head.bin")

# Files of which each tokenizer has one, by pattern.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.*",
    "spiece.model",
    "spm.model",
    "*.spm",
    "*.tiktoken",
    "*.bpe.model",
    "sentencepiece*.model",
    "tokenization*.py",
)


@dataclass(frozen=True)
class Folder:
    """A folder with a model.

    Args:
        path: where it lies.
        config: its config.json; empty for an adapter.
        files: name of a weight -> file that holds it.
        head_files: the same for weights that stand in a file of the head alone.
    """

    path: Path
    config: Mapping[str, Any]
    files: Mapping[str, Path]
    head_files: Mapping[str, Path]

    @property
    def architecture(self) -> str:
        """The class that wrote the folder; "" when the config names none."""
        return next(iter(self.config.get("architectures") or ()), "")

    @property
    def is_adapter(self) -> bool:
        """Whether the backbone is a LoRA adapter over a base model that lies elsewhere."""
        return (self.path / ADAPTER).is_file()

    def remote_class(self, auto_class: str) -> str:
        """Name the class of the folder's own Python code behind an auto class; "" when there is none."""
        entry = (self.config.get("auto_map") or {}).get(auto_class) or ""
        return str(entry).split(".")[-1]

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read weights by name."""
        wanted: dict[Path, list[str]] = {}
        for name in names:
            wanted.setdefault((self.head_files.get(name) or self.files[name]), []).append(name)
        return {name: tensor for file, own in wanted.items() for name, tensor in _read_file(file, own).items()}

    def describe(self) -> str:
        """Name what tells a layout: the architecture and the weights outside the layers."""
        outside = [
            name for name in (*self.head_files, *self.files) if not any(part.isdigit() for part in name.split("."))
        ]
        shown = ", ".join(sorted(outside)[:8]) or "none"
        more = f" and {len(outside) - 8} more" if len(outside) > 8 else ""
        return f"architecture {self.architecture or 'unnamed'}, weights outside the layers: {shown}{more}"


@contextmanager
def nobody_asked() -> Iterator[None]:
    """Allow or refuse the code of a folder by its flag; transformers would ask on stdin, and wait for an answer."""
    from transformers import dynamic_module_utils

    asked, dynamic_module_utils.TIME_OUT_REMOTE_CODE = dynamic_module_utils.TIME_OUT_REMOTE_CODE, 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = asked


def why_not(error: BaseException) -> str:
    """Return on one line why transformers does not load a model, with the remedy where its own code may not run."""
    text = str(error)
    if "contains custom code" in text:
        return (
            "it brings Python code of its own: read it, then allow it with trust_remote_code=True (--trust-remote-code)"
        )
    return text.splitlines()[0] if text else type(error).__name__


# transformers makes a name for every label and an object for every layer before it looks at the weights.
LARGEST = {"num_labels": 100_000, "num_hidden_layers": 10_000}


def read_config(path: str) -> dict[str, Any]:
    """Read the config.json of a folder or hub id; empty for a folder that has none.

    Raises:
        CheckpointError: there is neither such a folder nor such a model on the hub, or it names sizes of no model.
    """
    from transformers import PretrainedConfig

    is_folder = Path(path).is_dir()
    if is_folder and not (Path(path) / "config.json").is_file():
        return {}
    try:
        config = dict(PretrainedConfig.get_config_dict(path)[0])
    except (OSError, ValueError) as error:
        if is_folder:
            return {}
        reason = why_not(error)
        raise CheckpointError(
            f"no model {path!r} could be loaded: there is no such folder, and as a hub id: {reason}"
        ) from error
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name, most in LARGEST.items():
            if isinstance(part.get(name), int) and part[name] > most:
                raise CheckpointError(f"{path}: config.json says {name} is {part[name]}, above {most}; copy it again")
    return config


def load_tokenizer(path: str | Path, trust_remote_code: bool) -> Any:
    """Load the tokenizer of a model. Raises CheckpointError when there is none."""
    from transformers import AutoTokenizer

    folder = Path(path)
    if folder.is_dir() and not any(next(folder.glob(pattern), None) for pattern in TOKENIZERS):
        # transformers would build an empty one of the model's family.
        raise CheckpointError(f"{path} has no tokenizer ({', '.join(TOKENIZERS[:3])}, ...); save it there")
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CheckpointError(f"{path} has no tokenizer that can be loaded: {why_not(error)}; save it there") from error


# What a model is read from; folders inside a repository hold checkpoints and other formats.
FETCHED = ("*.json", "*.safetensors", "*.py", "*.jinja", "*.model", "*.txt", "*.npz", "*.tiktoken", "*.spm")
INSIDE, PICKLED = "*/*", "*.bin"


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the folder that a model of the hub was downloaded to, whole. Raises CheckpointError."""
    from huggingface_hub import snapshot_download

    def download(allowed: Sequence[str], ignored: str | None = INSIDE) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*allowed], ignore_patterns=ignored))

    try:
        folder = download(FETCHED)
        if (folder / ENSEMBLE_FILE).is_file():
            members = json.loads((folder / ENSEMBLE_FILE).read_text(encoding="utf-8"))["members"]
            return download([f"{member}/*" for member in members], None)
        return folder if any(folder.glob("*.safetensors")) else download([PICKLED])
    except Exception as error:
        # The hub's client raises errors of many libraries; all mean that this model cannot be had.
        what = f"revision {revision!r} of it" if revision else "it"
        raise CheckpointError(f"{name}: no such folder, and the hub cannot give {what}: {one_line(error)}") from error


def named_revision(name: str, revision: str | None = None) -> tuple[str, str | None]:
    """Return a model's name and the revision to read: what stands behind its @, else `revision`; None for "main".

    Raises:
        CheckpointError: a revision of a folder, which has none.
    """
    place, own = split_revision(name)
    revision = own or (None if revision == "main" else revision)
    if revision and (Path(place).exists() or looks_local(place)):
        raise CheckpointError(f"{place} is no hub id, so it has no revision {revision!r}; leave the revision out")
    return place, revision


def local_folder(path: str, revision: str | None = None) -> str:
    """Return where a model lies: its folder, or for a hub id, perhaps with "@REVISION", what was downloaded.

    Without a network a name comes back as it is: transformers may have cached what it needs of that model.

    Raises:
        CheckpointError: the hub has no such model or revision, or the path is a folder, which has none.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    path, revision = named_revision(path, revision)
    if Path(path).exists() or not (is_hub_id(path) or revision):
        return path
    try:
        return str(fetch(path, revision))
    except CheckpointError as error:
        if revision or not isinstance(error.__cause__, LocalEntryNotFoundError):
            raise
        return path


def cached_commit(name: str, revision: str | None) -> str | None:
    """Return the commit of a hub id that was read last; None for a folder."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).exists():
        return None
    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def open_folder(path: str, config: Mapping[str, Any]) -> Folder:
    """List a folder's weights without reading them; a hub id is downloaded first.

    Raises:
        CheckpointError: a file of weights is damaged or missing.
    """
    folder = Path(path)
    if not folder.is_dir():
        folder = fetch(path)
    files: dict[str, Path] = {}
    for name in WEIGHTS:
        files = _list_weights(folder, name)
        if files:
            break
    heads = next((folder / name for name in VALUE_HEADS if (folder / name).is_file()), None)
    head_files = dict.fromkeys(names_in(heads), heads) if heads else {}
    return Folder(folder, dict(config), files, head_files)


def _list_weights(folder: Path, name: str) -> dict[str, Path]:
    index = folder / f"{name}.index.json"
    if index.is_file():
        try:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{index} cannot be read: {error}; copy it again") from error
        absent = sorted(shard for shard in set(shards.values()) if not (folder / shard).is_file())
        if absent:
            raise CheckpointError(f"{folder} lacks {', '.join(absent[:3])}, which {index.name} names; copy it again")
        return {key: folder / shard for key, shard in shards.items()}
    return dict.fromkeys(names_in(folder / name), folder / name) if (folder / name).is_file() else {}


def names_in(file: Path) -> list[str]:
    """Name the weights of a file. Raises CheckpointError for a damaged one."""
    if file.suffix == ".bin":
        return list(_load_bin(file))
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot be read: {error}; copy it again") from error


def _read_file(file: Path, names: list[str]) -> dict[str, Tensor]:
    if file.suffix == ".bin":
        loaded = _load_bin(file)
        return {name: loaded[name] for name in names}
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in names}


def _load_bin(file: Path) -> dict[str, Tensor]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"{file} cannot be read: {str(error).splitlines()[0]}; copy it again") from error


ENSEMBLE_FILE = "ensemble.json"


def write_members(folder: Path, names: Sequence[str]) -> None:
    """Write which folders inside `folder` answer together."""
    write_json(folder / ENSEMBLE_FILE, {"members": list(names)})


def member_folders(path: str) -> list[str]:
    """Return the members of an ensemble that stands in one folder; the path itself for what is one model.

    Raises:
        CheckpointError: a member is missing, or the list cannot be read.
    """
    listed = Path(path) / ENSEMBLE_FILE
    if not listed.is_file():
        return [path]
    try:
        names = [str(name) for name in json.loads(listed.read_text(encoding="utf-8"))["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{listed} cannot be read: {one_line(error)}; train again") from error
    missing = [name for name in names if Path(name).name != name or not (Path(path) / name).is_dir()]
    if missing or len(names) < 2:
        raise CheckpointError(
            f"{listed} names {', '.join(missing) or names}, which is not there; copy the folder again"
        )
    return [str(Path(path) / name) for name in names]


def require_one_model(path: str) -> None:
    """Refuse the folder of an ensemble where one model is wanted. Raises CheckpointError."""
    if len(members := member_folders(path)) > 1:
        raise CheckpointError(f"{path} is an ensemble of {len(members)} models; name one of them, as {members[0]}")
