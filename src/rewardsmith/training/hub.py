"""When a run goes to the hub: its model, checkpoints on the way, never anything else; a hub that fails costs no run."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import CommitInfo, HfApi
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from rewardsmith.blocks.text import CARD
from rewardsmith.errors import HubError, RewardsmithError, one_line
from rewardsmith.models.hub import Place, commit, model_files, open_place
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.damage import CHECKSUMS, IDENTITY, OBJECTIVE
from rewardsmith.training.loaders import PLACE as STREAM

logger = logging.getLogger(__name__)

# What a checkpoint holds for its run alone.
OF_RUN = {CHECKSUMS, IDENTITY, OBJECTIVE, STREAM}
# A copy of the checkpoint that is on its way: the checkpoint itself may be rotated away meanwhile.
PUSHING = ".pushing"


class Pushed(Protocol):
    """What is asked of a trainer whose model goes to the hub, of a reward model or of a policy."""

    state: TrainerState
    control: TrainerControl
    callback_handler: CallbackHandler
    hub_model_id: str | None
    saved_in: Path | None

    @property
    def args(self) -> TrainingArguments: ...
    @property
    def create_model_card(self) -> Callable[..., None]: ...
    def save_here(self, folder: Path) -> None: ...
    def files_to_push(self, folder: Path) -> list[str]: ...
    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None: ...
    def is_world_process_zero(self) -> bool: ...
    def push_to_hub(self, *args: object, **kwargs: object) -> object: ...


def open_repository(args: TrainingArguments, token: str | None = None, private: bool | None = None) -> str:
    """Make sure that the repository and the branch are there, before anything is trained for them; return its id.

    Raises:
        HubError: nobody is logged in, the name is taken, or the hub cannot be reached.
    """
    name = args.hub_model_id or Path(str(args.output_dir)).absolute().name
    private = args.hub_private_repo if private is None else private
    place = Place(name, token or args.hub_token, args.hub_revision)
    return open_place(place, private, "or leave push_to_hub out").repo_id


@contextmanager
def token_apart(args: TrainingArguments) -> Iterator[None]:
    """Keep the hub's token out of settings that are written: Trainer pickles them into every folder."""
    token, args.hub_token = args.hub_token, None
    try:
        yield
    finally:
        args.hub_token = token


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


def all_tags(given: object, own: Sequence[str]) -> list[str]:
    """Return the tags that a caller gives a model card, one or several, and those of the trainer."""
    several = given if isinstance(given, list | tuple | set) else [given] if given else []
    return list(dict.fromkeys([*map(str, several), *own]))


def init_hf_repo(trainer: Pushed, token: str | None = None, private: bool | None = None) -> None:
    """Open the repository that a trainer pushes to. Raises HubError."""
    if trainer.is_world_process_zero():
        trainer.hub_model_id = open_repository(trainer.args, token, private)


def push_to_hub(trainer: Pushed, *given: object, **card: object) -> CommitInfo | Future[CommitInfo] | None:
    """Push the model that the trainer saved last, or saves now, with a new card, when earlier pushes are through.

    Takes transformers' arguments, and those of a model card.

    Raises:
        HubError: the hub does not take it.
    """
    args, push = trainer.args, Push.of(given, card)
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        trainer.init_hf_repo(push.token, push.private)
    folder = trainer.saved_in or Path(str(args.output_dir))
    if trainer.saved_in is None:
        trainer.save_here(folder)
    if not trainer.is_world_process_zero():
        return None
    repo_id = str(trainer.hub_model_id)
    trainer.create_model_card(**{"model_name": repo_id.split("/")[-1], **card})
    if folder != Path(str(args.output_dir)):
        shutil.copyfile(Path(str(args.output_dir)) / CARD, folder / CARD)
    if (running := getattr(trainer, "push_in_progress", None)) is not None:
        wait(running.jobs)
    place = Place(repo_id, push.token or args.hub_token, push.revision or args.hub_revision)
    if push.revision not in (None, args.hub_revision):
        place = open_place(place, push.private, f"{folder} has it whole")
    what = (place, folder, trainer.files_to_push(folder), push.commit_message or "End of training")
    return commit(*what) if push.blocking else HfApi().run_as_future(commit, *what)


def push_saved(trainer: Pushed) -> None:
    """Push a model that was just saved, where the settings ask for it; a hub that fails is said."""
    if trainer.args.push_to_hub:
        try:
            trainer.push_to_hub(commit_message="Model save")
        except HubError as error:
            logger.warning("the model is saved, and not pushed: %s", error)


class Pushing(PushInProgress):
    """Pushes in the background; the end of training does not wait, as a hub may hang before the model is saved."""

    def wait_until_done(self) -> None:
        """Leave them to themselves; `push_to_hub` waits for them, when the model is saved."""


def push_checkpoint(trainer: Pushed, checkpoint_folder: str) -> None:
    """Push the model of a checkpoint in the background, and the checkpoint itself where the strategy says so."""
    args, folder, strategy = trainer.args, Path(checkpoint_folder), HubStrategy(trainer.args.hub_strategy)
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
    sent = (trainer.files_to_push(aside), inside)
    job = HfApi().run_as_future(_push_aside, place, aside, sent, trainer.state.global_step)
    jobs = [*(running.jobs if running is not None else ()), job]  # type: ignore[misc]
    vars(trainer)["push_in_progress"] = Pushing(jobs)  # type: ignore[arg-type]


def _push_aside(place: Place, aside: Path, sent: tuple[Sequence[str], str | None], step: int) -> None:
    """Push a copied checkpoint and remove the copy; a hub that fails is said and forgotten."""
    names, inside = sent
    message = f"Training in progress, step {step}"
    try:
        commit(place, aside, names, message)
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
