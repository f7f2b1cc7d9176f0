"""SIGTERM and Ctrl-C: the step under way is finished and saved, then training ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal after its checkpoint was saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class StopOnSignal(TrainerCallback):
    """Save a checkpoint and stop at the end of the step in which a signal came."""

    def __init__(self) -> None:
        self.number: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for the checkpoint and the end, once a signal has come."""
        if self.number is not None:
            control.should_save = control.should_training_stop = True
        return control

    def raise_if_stopped(self, args: TrainingArguments, state: TrainerState) -> None:
        """Raise Interrupted when a signal ended training; it names the checkpoint."""
        if self.number is not None:
            number, self.number = self.number, None
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            raise Interrupted(
                f"stopped after step {state.global_step}; {name} in {args.output_dir} holds the run: go on with "
                "resume_from_checkpoint",
                number,
            )

    @contextmanager
    def listening(self, args: TrainingArguments) -> Iterator[None]:
        """Catch the signals in a block, where checkpoints are saved at all; a second one acts at once."""
        saves = getattr(args.save_strategy, "value", args.save_strategy) != "no"
        # Only the main thread can set handlers.
        if not saves or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in CAUGHT}

        def caught(number: int, frame: FrameType | None) -> None:
            if self.number is None:
                self.number = number
                return
            signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)
            signal.raise_signal(number)

        for number in CAUGHT:
            signal.signal(number, caught)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
