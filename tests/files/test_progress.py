"""One progress display: fits 80 columns on a terminal, stays quiet in files until there is something to say."""

import io

import pytest
from rich.console import Console

from rewardsmith.files import progress
from rewardsmith.files.progress import ProgressBar, track


class Clock:
    """Time that moves on when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_in_a_file_quick_work_says_nothing_and_slow_work_a_line_every_ten_seconds(clock, capsys):
    with ProgressBar("scoring", total=1000) as bar:
        bar.advance(100)
        assert capsys.readouterr().err == ""
        clock.now += 10
        bar.advance(100)
        assert capsys.readouterr().err == "scoring 200/1,000 rows, 20/s, 40 s left\n"
        clock.now += 9
        bar.advance(100)
        assert capsys.readouterr().err == ""


def test_what_an_earlier_run_did_does_not_count_for_the_rate(clock, capsys):
    with ProgressBar("scoring", total=1000) as bar:
        bar.advance(900, reused=True)
        clock.now += 10
        bar.advance(50)
    assert capsys.readouterr().err == "scoring 950/1,000 rows, 5/s, 10 s left\n"


def test_the_clock_can_begin_after_a_model_is_loaded(clock, capsys):
    with ProgressBar("scoring", total=20) as bar:
        clock.now += 600
        bar.restart_clock()
        clock.now += 10
        bar.advance(10)
    assert capsys.readouterr().err == "scoring 10/20 rows, 1/s, 10 s left\n"


def test_a_bar_on_a_terminal_fits_80_columns_with_rate_time_left_and_note(clock, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda file: Console(file=shown, force_terminal=True, width=80))
    with ProgressBar("training", total=123_456, unit="steps") as bar:
        clock.now += 7200
        bar.update(60_000, note="loss 0.693  accuracy 0.500  margin 0.000")
        text = bar._text()
        assert text.startswith("training 60,000/123,456 steps, 8.3/s, 2:06:55 left, loss 0.693")
        assert len(text) + 1 + progress.BAR_WIDTH < 80
    assert "60,000/123,456 steps" in shown.getvalue()


def test_unknown_totals_show_count_and_rate(clock, capsys):
    items = []
    for item in track(range(3), "count"):
        clock.now += 10
        items.append(item)
    assert items == [0, 1, 2]
    assert capsys.readouterr().err.splitlines() == [f"count {n} groups, 0.1/s" for n in (1, 2, 3)]
