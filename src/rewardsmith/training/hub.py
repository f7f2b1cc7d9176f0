"""When a run goes to the hub: its model, checkpoints on the way, never anything else; a hub that fails costs no run."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, HfApi
from transformers import Trainer, TrainingArguments
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


class Pushing(PushInProgress):
    """Pushes in the background; the end of training does not wait, as a hub may hang before the model is saved."""

    def wait_until_done(self) -> None:
        """Leave them to themselves; `push_to_hub` waits for them, when the model is saved."""


class HubMixin(Trainer):
    """Give a trainer its way to the hub: what it saves and pushes are one folder, and no push loses a save.

    RewardTrainer, PPOTrainer and TRL's GRPO and RLOO take it. A mixin, and not their base class: TRL's trainers have
    bases of their own. It stands first among the bases, so its `super()` is the trainer behind it. A trainer adds
    `save_here`, which sets `saved_in`, and `files_to_push`, and clears `saved_in` when it trains.
    """

    hub_model_id: str | None  # type: ignore[assignment]
    # The folder that holds the model as it is.
    saved_in: Path | None = None

    def save_here(self, folder: Path) -> None:
        """Save as `save_model` does, without a push."""
        raise NotImplementedError

    def files_to_push(self, folder: Path) -> list[str]:
        """Return what of a folder goes to the hub."""
        raise NotImplementedError

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, and push it where the settings ask for it; a hub that fails is said."""
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)
            return
        self.save_here(Path(output_dir or str(self.args.output_dir)))
        if self.args.push_to_hub:
            try:
                self.push_to_hub(commit_message="Model save")
            except HubError as error:
                logger.warning("the model is saved, and not pushed: %s", error)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Open the repository that a trainer pushes to. Raises HubError."""
        if self.is_world_process_zero():
            self.hub_model_id = open_repository(self.args, token, private)

    def push_to_hub(  # type: ignore[override]
        self, *given: object, **card: object
    ) -> CommitInfo | Future[CommitInfo] | None:
        """Push the model that the trainer saved last, or saves now, with a new card, when earlier pushes are through.

        Takes transformers' arguments, and those of a model card.

        Raises:
            HubError: the hub does not take it.
        """
        args, push = self.args, Push.of(given, card)
        self.callback_handler.on_push_begin(args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(push.token, push.private)
        folder = self.saved_in or Path(str(args.output_dir))
        if self.saved_in is None:
            self.save_here(folder)
        if not self.is_world_process_zero():
            return None
        repo_id = str(self.hub_model_id)
        self.create_model_card(**{"model_name": repo_id.split("/")[-1], **card})  # type: ignore[arg-type]
        if folder != Path(str(args.output_dir)):
            shutil.copyfile(Path(str(args.output_dir)) / CARD, folder / CARD)
        if (running := getattr(self, "push_in_progress", None)) is not None:
            wait(running.jobs)
        place = Place(repo_id, push.token or args.hub_token, push.revision or args.hub_revision)
        if push.revision not in (None, args.hub_revision):
            place = open_place(place, push.private, f"{folder} has it whole")
        what = (place, folder, self.files_to_push(folder), push.commit_message or "End of training")
        return commit(*what) if push.blocking else HfApi().run_as_future(commit, *what)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push the model of a checkpoint in the background, and the checkpoint itself where the strategy says so."""
        args, folder, strategy = self.args, Path(checkpoint_folder), HubStrategy(self.args.hub_strategy)
        running: PushInProgress | None = getattr(self, "push_in_progress", None)
        is_busy = running is not None and not running.is_done() and not args.hub_always_push
        if not self.is_world_process_zero() or strategy == HubStrategy.END or is_busy:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        aside = folder.parent / PUSHING / folder.name
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(folder, aside, copy_function=_link)
        self.create_model_card(model_name=str(self.hub_model_id).split("/")[-1])
        with suppress(OSError):
            shutil.copyfile(Path(str(args.output_dir)) / CARD, aside / CARD)
        inside = {HubStrategy.CHECKPOINT: "last-checkpoint/", HubStrategy.ALL_CHECKPOINTS: f"{folder.name}/"}.get(
            strategy
        )
        place = Place(str(self.hub_model_id), args.hub_token, args.hub_revision)
        sent = (self.files_to_push(aside), inside)
        job = HfApi().run_as_future(_push_aside, place, aside, sent, self.state.global_step)
        jobs = [*(running.jobs if running is not None else ()), job]  # type: ignore[misc]
        vars(self)["push_in_progress"] = Pushing(jobs)  # type: ignore[arg-type]


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
