"""The report of a run: what it says of reward and gold, and where it draws the turn."""

import json
import re
from dataclasses import replace

import pytest

from rewardsmith.blocks.kinds import Curves
from rewardsmith.report.optimising import REPORT, run_blocks, verdict_of, write_run_report
from rewardsmith.rl.measuring import Point, find_turn
from rewardsmith.rl.running import RunResult

NUMBERS = [0.1 * i for i in range(20)]


def point(step, reward, gold, kl):
    shifted = [value + gold + 0.01 * (i % (3 + step)) for i, value in enumerate(NUMBERS)]
    values = {
        "reward": [v + reward + 0.01 * (i % (4 + step)) for i, v in enumerate(NUMBERS)],
        "gold": shifted,
        "kl": [kl] * 20,
    }
    return Point(step, values | {"length": [9.0] * 20, "entropy": [1.0] * 20, "cut": [0.0] * 20})


@pytest.fixture
def result(tmp_path):
    points = [point(0, 0, 0, 0.0), point(4, 1, 1, 2.5), point(8, 3, -1, 9.0)]
    rows = [
        {"step": p.step, "prompt": f"question {i}", "completion": f"answer {i} <b>", "reward": 1.0, "gold": -1.0}
        for p in points
        for i in range(20)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    history = [{"step": n, "reward": float(n), "entropy": 1.0} for n in (1, 2, 3)]
    return RunResult(tmp_path, "ppo", points, find_turn(points), history, {"policy": "p", "reward": "r", "gold": "g"})


def test_a_turn_is_named_and_drawn(result):
    found = verdict_of(result)
    assert found.tone == "bad"
    assert "reward rose: +3." in found.text
    assert "Gold turned: it was best at step 4 (KL 2.500 nats)" in found.text
    assert re.search(r"and lost \d+\.\d+ \[\d.* to \d.*\] from there to the end", found.text)
    assert "(n=" not in found.text
    write_run_report(result)
    page = (result.folder / REPORT).read_text()
    assert page.count('class="reference"') >= 2
    assert "Gold turned after step 4" in page
    assert "answer 0 &lt;b&gt;" in page
    assert 'class="side first"' not in page


def test_without_gold_the_page_says_that_it_cannot_tell(result):
    points = [Point(p.step, {k: v for k, v in p.values.items() if k != "gold"}) for p in result.points]
    alone = replace(result, points=points, turn=None)
    assert "nothing says whether the answers became better" in verdict_of(alone).text
    write_run_report(alone)
    assert "No gold reward was given" in (result.folder / REPORT).read_text()


def test_a_rise_of_both_is_good_and_no_change_is_open(result):
    assert verdict_of(replace(result, points=result.points[:2], turn=None)).tone == "good"
    still = verdict_of(replace(result, points=[result.points[0], result.points[0]], turn=None))
    assert still.tone == "warn"


def test_examples_stand_before_and_after(result):
    *_, examples = run_blocks(result, num_examples=3)
    assert [len(item.answers) for item in examples.items] == [2, 2, 2]
    assert not any(isinstance(block, Curves) for block in run_blocks(result))
