"""What of a folder makes its model, and its way to the hub in one commit, of a run or of a model that was opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError

from rewardsmith.blocks.text import CARD
from rewardsmith.data import training_record
from rewardsmith.errors import HubError, RewardsmithError, one_line
from rewardsmith.models.contract import CURVES, RECORD, is_reward_file, read_contract
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.foreign.folder import ADAPTER, ENSEMBLE_FILE, member_folders
from rewardsmith.models.heads import CODE
from rewardsmith.models.wide_head import LAPLACE_FILE

# Where the merged model of an adapter goes: `pipeline` and trainers that load by path read it as they read any model.
MERGED = "merged"
WEIGHTS = re.compile(r"(pytorch_model|model|adapter_model)[-\w]*\.(safetensors|bin)(\.index\.json)?")
# What a policy was optimised by; of a reward model its own contract says it.
REWARD_CONTRACTS = "reward_contracts.json"
# How the model came about, beside what its rewards are computed from.
BESIDE = (CONTRACT, CARD, RECORD, CURVES, training_record.FILE_NAME, LAPLACE_FILE, ENSEMBLE_FILE)
# Where these are left of an earlier model, they are taken for part of the new one.
LEFT = {*BESIDE[2:], CONTRACT, ADAPTER, REWARD_CONTRACTS, CODE.name, "config.json", "chat_template.jinja"}
# By the status with which a hub refuses; without one, it was not reached.
REMEDIES = {
    401: "log in with `hf auth login`, or set HF_TOKEN",
    403: "take a token that may write there, or another hub_model_id",
    404: "check the name and the branch, and that the token may see it",
    409: "push again: somebody else pushed meanwhile",
    413: "a file is too large for the hub; save it in shards",
}
NOT_REACHED = "check the network and HF_ENDPOINT"


@dataclass(frozen=True)
class Place:
    """A branch of a repository on the hub; None is the main one."""

    repo_id: str
    token: str | None = None
    revision: str | None = None


@contextmanager
def refusals(repo_id: str, kept: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one line that says what to do, and what stays. Raises HubError."""
    try:
        yield
    except RewardsmithError:
        raise
    except Exception as error:
        # Errors of many libraries; all mean that the hub does not take it.
        said = ": ".join(one_line(one, 300) for one in (error, error.__cause__) if one is not None)
        raise HubError(f"the hub does not take {repo_id}: {said}; {_remedy(error)}; {kept}") from error


def _remedy(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", 0)
        return REMEDIES.get(status, "the hub itself fails: try later" if status >= 500 else "change what it names")
    return "write it as owner/name" if isinstance(error, ValueError) else NOT_REACHED


def open_place(place: Place, private: bool | None, kept: str) -> Place:
    """Make sure that the repository and the branch are there; return the place with the owner in its name.

    Raises:
        HubError: nobody is logged in, the name is taken, or the hub cannot be reached.
    """
    with refusals(place.repo_id, kept):
        api = HfApi(token=place.token)
        repo_id = api.create_repo(place.repo_id, private=private, exist_ok=True).repo_id
        if place.revision and not place.revision.startswith("refs/"):
            api.create_branch(repo_id, branch=place.revision, exist_ok=True)
    return Place(repo_id, place.token, place.revision)


def model_files(folder: Path, has_merged: bool = False, of_run: Collection[str] = ()) -> list[str]:
    """Return the files that make the model of a folder, by relative name; of an ensemble also those of its members.

    Optimizers, ledgers, caches, pickled settings and whatever else lies there are not among them.

    Args:
        of_run: names of what a checkpoint holds for its run alone.
    """
    members = [Path(member).name for member in member_folders(str(folder)) if member != str(folder)]
    contract = read_contract(folder)
    names = {path.name for path in folder.iterdir() if is_reward_file(path)} - set(of_run)
    if members or (contract is not None and contract.files):
        names = set(contract.files) if contract is not None else set()
    inner = [*members, *([MERGED] if has_merged and (folder / MERGED).is_dir() else [])]
    inside = [f"{name}/{file}" for name in inner for file in model_files(folder / name)]
    return sorted(name for name in names | set(BESIDE) if (folder / name).is_file()) + inside


def commit(place: Place, folder: Path, names: Sequence[str], message: str, inside: str = "") -> CommitInfo:
    """Put files of a folder into the repository in one commit, which also takes away what an earlier model left.

    Raises:
        HubError: the hub does not take them.
    """
    api = HfApi(token=place.token)
    with refusals(place.repo_id, f"{folder} has it whole: push again, or hf upload {place.repo_id} its files"):
        new = {f"{inside}{name}": folder / name for name in names}
        there = api.list_repo_files(place.repo_id, revision=place.revision)
        left = [path for path in there if path not in new and _is_left(path, inside)]
        return api.create_commit(
            place.repo_id,
            [*(CommitOperationDelete(path) for path in left), *(CommitOperationAdd(p, new[p]) for p in new)],
            commit_message=message,
            revision=place.revision,
        )


def _is_left(path: str, inside: str) -> bool:
    """Whether a file of the repository belongs to the model that is replaced: anything of a checkpoint, or known."""
    if inside:
        return path.startswith(inside)
    return path in LEFT or WEIGHTS.fullmatch(path) is not None or path.startswith(f"{MERGED}/")


def push_folder(folder: str | Path, place: Place, message: str, private: bool | None = None) -> CommitInfo:
    """Push the model of a folder, an ensemble's with its members, to a repository that is made where it is not there.

    Raises:
        HubError: the folder holds no contract, so nobody can say which files make its model; or the hub refuses.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HubError(f"{folder} is no folder on this machine, so there is nothing to push; export it into one first")
    without = [member for member in member_folders(str(folder)) if read_contract(member) is None]
    if without:
        raise HubError(
            f"{without[0]} has no {CONTRACT}, which says what its model is made of; write one: rewardsmith export"
        )
    kept = f"{folder} is as it was"
    return commit(open_place(place, private, kept), folder, model_files(folder, has_merged=True), message)
