import json

import pytest
from benchmark_rows import by_number

from rewardsmith.evaluation.benchmarks import run_benchmark
from rewardsmith.stats.intervals import Resampling


@pytest.fixture
def run(tmp_path):
    def call(name, rows):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows))
        return run_benchmark(name, by_number, path, how=Resampling(200))

    return call
