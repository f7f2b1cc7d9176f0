import json

import pytest

from rewardsmith.evaluation.benchmarks import run_benchmark
from rewardsmith.stats.intervals import Resampling


def by_number(prompt, completions):
    """The reward stands in the text: "good 3" scores 3."""
    return [float(str(completion).split()[-1]) for completion in completions]


@pytest.fixture
def run(tmp_path):
    def call(name, rows):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows))
        return run_benchmark(name, by_number, path, how=Resampling(200))

    return call
