"""What goes to the hub: the files of a loadable folder and nothing beside them; a hub that fails costs no run."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from rewardsmith.blocks.text import CARD
from rewardsmith.data import training_record
from rewardsmith.errors import HubError, RewardsmithError, one_line
from rewardsmith.models.contract import FILE_NAME as CONTRACT
from rewardsmith.models.contract import is_reward_file, read_contract
from rewardsmith.models.foreign.folder import ADAPTER, ENSEMBLE_FILE, member_folders
from rewardsmith.models.heads import CODE
from rewardsmith.models.wide_head import LAPLACE_FILE
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.damage import CHECKSUMS, IDENTITY, OBJECTIVE
from rewardsmith.training.loaders import PLACE as STREAM
from rewardsmith.training.publishing import MERGED, WEIGHTS
from rewardsmith.training.record import CURVES, RECORD

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)

# How the model came about, beside what its rewards are computed from.
BESIDE = (CONTRACT, CARD, RECORD, CURVES, training_record.FILE_NAME, LAPLACE_FILE, ENSEMBLE_FILE)
# What a checkpoint holds for its run alone.
OF_RUN = {CHECKSUMS, IDENTITY, OBJECTIVE, STREAM}
# Where these are left of an earlier model, they are taken for part of the new one.
LEFT = {*BESIDE[2:], CONTRACT, ADAPTER, CODE.name, "config.json", "chat_template.jinja"}
# A copy of the checkpoint that is on its way: the checkpoint itself may be rotated away meanwhile.
PUSHING = ".pushing"


@dataclass(frozen=True)
class Place:
    """A branch of a repository on the hub; None is the main one."""

    repo_id: str
    token: str | None = None
    revision: str | None = None


@contextmanager
def refusals(repo_id: str, remedy: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into one line. Raises HubError."""
    try:
        yield
    except RewardsmithError:
        raise
    except Exception as error:
        # Errors of many libraries; all mean that the hub does not take it.
        said = ": ".join(one_line(one, 300) for one in (error, error.__cause__) if one is not None)
        raise HubError(f"the hub does not take {repo_id}: {said}; {remedy}") from error


def open_repository(args: TrainingArguments, token: str | None = None, private: bool | None = None) -> str:
    """Make sure that the repository and the branch are there, before anything is trained for them; return its id.

    Raises:
        HubError: nobody is logged in, the name is taken, or the hub cannot be reached.
    """
    name = args.hub_model_id or Path(str(args.output_dir)).absolute().name
    token = token or args.hub_token
    private = args.hub_private_repo if private is None else private
    with refusals(name, "log in with `hf auth login`, or leave push_to_hub out"):
        api = HfApi(token=token)
        repo_id = api.create_repo(name, private=private, exist_ok=True).repo_id
        if args.hub_revision and not args.hub_revision.startswith("refs/"):
            api.create_branch(repo_id, branch=args.hub_revision, exist_ok=True)
    return repo_id


def model_files(folder: Path, has_merged: bool = False) -> list[str]:
    """Return the files that make the model of a folder, by relative name; of an ensemble also those of its members.

    Optimizers, ledgers, caches, pickled settings and whatever else lies there are not among them.
    """
    members = [Path(member).name for member in member_folders(str(folder)) if member != str(folder)]
    contract = read_contract(folder)
    names = {path.name for path in folder.iterdir() if is_reward_file(path)} - OF_RUN
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
    remedy = f"{folder} has it whole: push again, or rewardsmith export {folder} OUT and hf upload {place.repo_id} OUT"
    with refusals(place.repo_id, remedy):
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


def push_run(folder: Path, args: RewardConfig) -> None:
    """Push the folder of a finished run, with its report, where the settings ask for it. Raises HubError."""
    if args.push_to_hub:
        place = Place(open_repository(args), args.hub_token, args.hub_revision)
        commit(place, folder, model_files(folder, bool(args.save_merged)), "Model save")
        logger.info("%s is on the hub as %s", folder, place.repo_id)


@dataclass(frozen=True)
class Push:
    """What transformers' `push_to_hub` is asked, in its order."""

    commit_message: str | None = "End of training"
    blocking: bool = True
    token: str | None = None
    revision: str | None = None
    private: bool | None = None

    @classmethod
    def of(cls, given: Sequence[Any], named: dict[str, Any]) -> Push:
        """Take these arguments out of all that were given; what is left in `named` is of the model card."""
        return cls(*given, **{field.name: named.pop(field.name) for field in fields(cls) if field.name in named})


def push_trained(trainer: RewardTrainer, push: Push, card: dict[str, Any]) -> CommitInfo | Future[CommitInfo] | None:
    """Push the model that the trainer saved last with a new card, when earlier pushes are through.

    Raises:
        HubError: the hub does not take it.
    """
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        trainer.init_hf_repo(push.token, push.private)
    folder = trainer.saved_in or Path(str(args.output_dir))
    if trainer.saved_in is None:
        trainer.save_here(folder)
    if not trainer.is_world_process_zero():
        return None
    tags = card.get("tags") or ()
    card["tags"] = [*dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *trainer._tag_names])]
    repo_id = str(trainer.hub_model_id)
    trainer.create_model_card(**{"model_name": repo_id.split("/")[-1], **card})
    if folder != Path(str(args.output_dir)):
        shutil.copyfile(Path(str(args.output_dir)) / CARD, folder / CARD)
    if (running := getattr(trainer, "push_in_progress", None)) is not None:
        wait(running.jobs)
    place = Place(repo_id, push.token or args.hub_token, push.revision or args.hub_revision)
    what = (place, folder, model_files(folder, bool(args.save_merged)), push.commit_message or "End of training")
    return commit(*what) if push.blocking else HfApi().run_as_future(commit, *what)


def push_saved(trainer: RewardTrainer) -> None:
    """Push a model that was just saved, where the settings ask for it; a hub that fails is said."""
    if trainer.args.push_to_hub:
        try:
            trainer.push_to_hub(commit_message="Model save")
        except HubError as error:
            logger.warning("the model is saved, and not pushed: %s", error)


class Pushing(PushInProgress):
    """Pushes in the background; the end of training does not wait, as a hub may hang before the model is saved."""

    def wait_until_done(self) -> None:
        """Leave them to themselves; `push_trained` waits for them, when the model is saved."""


def push_checkpoint(trainer: RewardTrainer, folder: Path) -> None:
    """Push the model of a checkpoint in the background, and the checkpoint itself where the strategy says so."""
    args, strategy = trainer.args, HubStrategy(trainer.args.hub_strategy)
    running: PushInProgress | None = getattr(trainer, "push_in_progress", None)
    is_busy = running is not None and not running.is_done() and not args.hub_always_push
    if not trainer.is_world_process_zero() or strategy == HubStrategy.END or is_busy:
        return
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    aside = folder.parent / PUSHING / folder.name
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside, copy_function=_link)
    trainer.create_model_card(model_name=str(trainer.hub_model_id).split("/")[-1])
    with suppress(OSError):
        shutil.copyfile(Path(str(args.output_dir)) / CARD, aside / CARD)
    inside = {HubStrategy.CHECKPOINT: "last-checkpoint/", HubStrategy.ALL_CHECKPOINTS: f"{folder.name}/"}.get(strategy)
    place = Place(str(trainer.hub_model_id), args.hub_token, args.hub_revision)
    job = HfApi().run_as_future(_push_aside, place, aside, inside, trainer.state.global_step)
    jobs = [*(running.jobs if running is not None else ()), job]  # type: ignore[misc]
    trainer.push_in_progress = Pushing(jobs)  # type: ignore[arg-type, assignment]


def _push_aside(place: Place, aside: Path, inside: str | None, step: int) -> None:
    """Push a copied checkpoint and remove the copy; a hub that fails is said and forgotten."""
    message = f"Training in progress, step {step}"
    try:
        commit(place, aside, model_files(aside), message)
        if inside is not None:
            files = [path.relative_to(aside).as_posix() for path in sorted(aside.rglob("*")) if path.is_file()]
            commit(place, aside, files, f"{message}, checkpoint", inside)
    except (RewardsmithError, OSError) as error:
        logger.warning("checkpoint of step %d was not pushed: %s; training goes on", step, one_line(error, 500))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            aside.parent.rmdir()


def _link(source: str, target: str) -> None:
    """Give a file a second name; where the disk knows none, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
