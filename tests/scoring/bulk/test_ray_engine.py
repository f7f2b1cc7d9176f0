"""A Ray cluster gives what one process gives, whoever dies on the way; what does not fit is said, not waited for."""

import json
import os
import random
import signal
import sys

import psutil
import pytest
import tiny_models

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.scoring.bulk.job import BulkJob, score_file
from rewardsmith.scoring.bulk.ledger import Shard
from rewardsmith.scoring.bulk.rows import spec_fingerprints
from rewardsmith.scoring.opening import ModelSpec

pytest.importorskip("ray.data", reason="needs rewardsmith[ray]")

from rewardsmith.scoring.bulk.ray_engine import Cluster, _fits, find_places, score_file_on_ray

# Ray's own clean-up leaves sockets and its log files to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A decoder with random weights, in a folder."""
    texts = [f"question {i} answer {i * 7} end" for i in range(200)]
    return tiny_models.save_fresh(tmp_path_factory.mktemp("model"), texts)


@pytest.fixture(scope="module")
def ray_here():
    """A local Ray with two CPUs, both of which the workers will take."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(address="local", num_cpus=2, object_store_memory=100_000_000, **options)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = random.Random(0)
    rows = []
    for i in range(240):
        prompt = f"question {i // 4 % 40} " * rng.randint(1, 30)
        rows.append({"id": i, "prompt": prompt, "completion": f"answer {i} " * rng.randint(1, 20)})
    rows[17]["completion"] = None
    path = tmp_path_factory.mktemp("data") / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread, as a worker of one CPU has: with more, the last bits of a reward may differ."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(one_thread, source, model_path, tmp_path_factory):
    """The output of one process."""
    job = BulkJob(source, tmp_path_factory.mktemp("whole") / "out.jsonl", rows_per_part=8)
    spec = ModelSpec.of(str(model_path))
    model = spec.open()
    score_file(model, job, spec_fingerprints(spec, model))
    return contents(job.out.parent)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def workers_below(process):
    """The processes of our actors among the descendants of this one."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "PartScorer" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_that_is_killed_in_the_middle_loses_and_doubles_no_row(ray_here, source, model_path, whole, tmp_path):
    job = BulkJob(source, tmp_path / "out.jsonl", rows_per_part=8)
    killed, parts = [], []

    def kill_one(rows, total, is_reused):
        parts.append(rows)
        workers = workers_below(psutil.Process())
        if len(parts) >= 4 and not killed and len(workers) == 2:
            killed.append(workers[0].pid)
            os.kill(workers[0].pid, signal.SIGKILL)

    report = score_file_on_ray(ModelSpec.of(str(model_path)), job, Cluster(workers=2), kill_one)
    assert killed
    assert (report.rows, report.scored, sum(parts)) == (240, 239, 240)
    assert report.failed == {"null value": 1}
    assert contents(tmp_path) == whole
    rows = [json.loads(line) for line in job.out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [i for i in range(240) if i != 17]


@pytest.mark.slow
@pytest.mark.alone
def test_a_job_begun_elsewhere_goes_on_with_ray_and_shards(ray_here, source, model_path, whole, tmp_path):
    spec, out = ModelSpec.of(str(model_path)), tmp_path / "out.jsonl"
    model = spec.open()
    score_file(model, BulkJob(source, out, rows_per_part=8, shard=Shard(0, 3)), spec_fingerprints(spec, model))
    report = score_file_on_ray(spec, BulkJob(source, out, rows_per_part=8, shard=Shard(2, 3)), Cluster())
    assert (report.waiting, out.exists()) == (10, False)
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.jsonl.ledger").glob("part-*")}
    report = score_file_on_ray(spec, BulkJob(source, out, rows_per_part=8), Cluster())
    assert (len(done), report.reused, report.scored) == (20, 160, 239)
    assert all((tmp_path / "out.jsonl.ledger" / name).stat().st_mtime_ns == time for name, time in done.items())
    assert contents(tmp_path) == whole
    with pytest.raises(ConfigError, match="another options"):
        score_file_on_ray(spec, BulkJob(source, out, rows_per_part=8, column="r"), Cluster())


@pytest.mark.slow
@pytest.mark.alone
def test_what_the_cluster_has_no_room_for_is_an_error_and_not_a_silence(ray_here, source, model_path, tmp_path):
    job = BulkJob(source, tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"3 workers of 1 CPU do not fit: .*room for 2"):
        score_file_on_ray(ModelSpec.of(str(model_path)), job, Cluster(workers=3))
    with pytest.raises(ConfigError, match=r"no machine .* has 4 CPU"):
        score_file_on_ray(ModelSpec.of(str(model_path)), job, Cluster(cpus_per_worker=4))
    with pytest.raises(ConfigError, match=r"1 CPU and 1 GPU"):
        score_file_on_ray(ModelSpec.of(str(model_path)), job, Cluster(gpus_per_worker=1))
    assert find_places(Cluster(cpus_per_worker=0.5)) == 4
    assert not (tmp_path / "out.jsonl.ledger").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_model_that_cannot_be_used_is_said_before_any_work(ray_here, source, model_path, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(model_path, broken)
    weights = load_file(broken / "model.safetensors")
    weights["score.weight"][0, 3] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"score\.weight holds NaN"):
        score_file_on_ray(ModelSpec.of(str(broken)), BulkJob(source, tmp_path / "out.jsonl"), Cluster())
    assert not (tmp_path / "out.jsonl").exists()


class DeadlySpec(ModelSpec):
    """A model that kills its process over one row, as an exhausted memory does."""

    def open(self):
        model = super().open()
        score = model.score_encoded

        def score_or_die(groups):
            if any(len(sequence) == DEADLY for group in groups for sequence in group):
                os.kill(os.getpid(), signal.SIGKILL)
            return score(groups)

        model.score_encoded = score_or_die
        return model


DEADLY = 3


@pytest.mark.slow
@pytest.mark.alone
def test_rows_that_kill_every_worker_end_the_job_and_spare_the_rest(ray_here, model_path, tmp_path):
    path = tmp_path / "in.jsonl"
    ids = [[5] * (DEADLY if i == 5 else 4) for i in range(8)]
    path.write_text("".join(json.dumps({"chosen_ids": x, "rejected_ids": [*x, *x]}) + "\n" for x in ids))
    ray_here.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    job = BulkJob(path, tmp_path / "out.jsonl", rows_per_part=2)
    with pytest.raises(ScoringError, match=r"4 workers died on the rows from 5 to 6; .*run the same command again"):
        score_file_on_ray(DeadlySpec.of(str(model_path)), job, Cluster(workers=1))
    left = {file.name for file in job.ledger_folder.iterdir()}
    assert {"manifest.json", "part-000000.parquet", "part-000001.parquet"} <= left
    assert left <= {"manifest.json", *(f"part-{part:06d}.parquet" for part in (0, 1, 3))}


def test_places_are_counted_by_the_scarcer_resource():
    assert _fits({"CPU": 8.0, "GPU": 2.0}, 1, 1) == 2
    assert _fits({"CPU": 0.3}, 0.1, 0) == 3
    assert _fits({}, 1, 0) == 0


@pytest.mark.parametrize("fields", [{"workers": 0}, {"cpus_per_worker": 0}, {"gpus_per_worker": -1}])
def test_a_cluster_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ConfigError):
        Cluster(**fields)
