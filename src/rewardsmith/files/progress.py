"""One progress display for everything that takes long: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 16


class ProgressBar:
    """Show what is done, the rate and the time left on stderr; at most 80 columns wide.

    On a terminal it is one line that is drawn again. In a file, a pipe or a notebook it is a plain line at most every
    ten seconds, and none for work that is done before that.

    Args:
        label: what goes on, such as "scoring".
        total: how much there is; None where it is not known.
        unit: what is counted, such as "rows".

    Example:
        >>> with ProgressBar("scoring", total=3, unit="rows") as bar:
        ...     for _ in range(3):
        ...         bar.advance()
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "rows") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self._fresh = 0
        self.note = ""
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._start = self._said = time.monotonic()

    def __enter__(self) -> ProgressBar:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(escape(self._text()), total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def restart_clock(self) -> None:
        """Count time from here, for instance once a model is loaded."""
        self._start = self._said = time.monotonic()

    def advance(self, count: int = 1, *, reused: bool = False) -> None:
        """Count what is done; what an earlier run did (`reused`) does not count for the rate."""
        self.update(self.done + count, reused=reused)

    def update(self, done: int, *, total: int | None = None, note: str | None = None, reused: bool = False) -> None:
        """Set how much is done, and perhaps the total and a short note such as the loss."""
        self._fresh += 0 if reused else done - self.done
        self.done = done
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        now = time.monotonic()
        if self._bar is not None:
            # Text is laid out a few times a second only: a bar must not slow down what it shows.
            if now - self._said >= 0.1 or done == self.total:
                self._said = now
                self._bar.update(self._task, completed=done, total=self.total, description=escape(self._text()))
        elif self._fresh and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            print(self._text(), file=sys.stderr, flush=True)

    def _text(self) -> str:
        """Return label, count, rate, time left and note, as much as fits beside the bar in 80 columns."""
        of = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.label} {self.done:,}{of} {self.unit}"]
        rate = self._fresh / max(time.monotonic() - self._start, 1e-9)
        if self._fresh:
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total is not None:
                parts.append(f"{_clock((self.total - self.done) / rate)} left")
        return ", ".join([*parts, *([self.note] if self.note else [])])[: 79 - BAR_WIDTH - 1]


def track(items: Iterable[Item], label: str, total: int | None = None, unit: str = "groups") -> Iterator[Item]:
    """Yield the items and show how many have passed."""
    with ProgressBar(label, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


def _clock(seconds: float) -> str:
    """Return "8 s", "3:20" or "2:03:20"."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
