"""Score a file with Ray Data: actors that hold the model, each taking parts of the job's ledger.

Ray gives places, restarts and retries; what is done is known by the ledger alone. A part is written whole or not at
all, by whoever computes it, so a worker that dies, or one that Ray asks twice, loses and doubles nothing. Input,
ledger and model must lie where every machine of the cluster sees them.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardsmith.errors import CheckpointError, ConfigError, DataError, RewardsmithError, ScoringError, missing_extra
from rewardsmith.scoring.bulk.entries import score_entries
from rewardsmith.scoring.bulk.job import (
    ATTEMPTS,
    BulkJob,
    BulkReport,
    OnProgress,
    PartReader,
    explained_lack_of_room,
    finish,
    only_writer,
    open_ledger,
    parts_to_do,
)
from rewardsmith.scoring.bulk.ledger import Ledger
from rewardsmith.scoring.bulk.rows import HubInput, code_fingerprint, spec_fingerprints
from rewardsmith.scoring.opening import ModelSpec

logger = logging.getLogger(__name__)

# How many further workers may begin a part when its worker died under it.
RETRIES = 3
SECONDS_FOR_FIRST_WORKER = 600
SECONDS_TO_SETTLE = 10.0
# Only part numbers and counts pass through Ray; rows are read by the workers.
OBJECT_STORE_BYTES = 100_000_000
ERRORS: dict[str, type[RewardsmithError]] = {
    kind.__name__: kind for kind in (CheckpointError, ConfigError, DataError, ScoringError)
}


@dataclass(frozen=True)
class Cluster:
    """Where a job runs.

    Args:
        workers: actors; None takes as many as there is room for.
        cpus_per_worker: may be a fraction.
        gpus_per_worker: None gives each worker one GPU where the cluster has any and the device is not the CPU.
        address: of a running cluster, "auto" to find it; None uses $RAY_ADDRESS or begins one on this machine.
    """

    workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"{self.workers} workers; give 1 or more")
        if self.cpus_per_worker <= 0 or (self.gpus_per_worker or 0) < 0:
            raise ConfigError("CPUs per worker must be above 0 and GPUs per worker not below 0")


@dataclass(frozen=True)
class WorkerTask:
    """What a worker needs beside the parts.

    Args:
        spec, job: the model and what is scored.
        num_rows: rows of the input.
        fingerprints: what driver and workers must agree on.
        attempts: folder that counts how often a part was begun.
    """

    spec: ModelSpec
    job: BulkJob
    num_rows: int
    fingerprints: Mapping[str, str]
    attempts: Path

    def begin(self, part: int) -> None:
        """Count that a worker begins `part`. Raises ScoringError when too many have begun it and none came back.

        Ray itself gives a task whose actor died to the next actor for ever.
        """
        with (self.attempts / str(part)).open("ab") as file:
            file.write(b".")
            file.flush()
            begun = os.fstat(file.fileno()).st_size
        if begun > 1 + RETRIES:
            first = part * self.job.rows_per_part + 1
            raise ScoringError(
                f"{begun - 1} workers died on the rows from {first} to {first + self.job.rows_per_part - 1}; if memory "
                "ran out, lower --tokens-per-batch or --workers; finished parts are kept: run the same command again"
            )


class PartScorer:
    """The actor: loads the model at its first part and writes each part into the ledger.

    Errors come back as rows: Ray would wrap them in its own and restart the actor.
    """

    def __init__(self, task: WorkerTask) -> None:
        self._task = task
        self._ready: tuple[Any, Ledger, PartReader] | None = None

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Score the parts of a batch. Gives their numbers and, for each, an error or nothing."""
        parts = [int(part) for part in batch["part"]]
        return {"part": parts, "error": [self._try(part) for part in parts]}

    def _try(self, part: int) -> str:
        try:
            with explained_lack_of_room(self._task.job):
                self._task.begin(part)
                self._ready = self._ready or self._prepare()
                model, ledger, reader = self._ready
                ledger.write(part, score_entries(model, reader.read(part), self._task.job.wanted))
        except (RewardsmithError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _prepare(self) -> tuple[Any, Ledger, PartReader]:
        """Load the model and refuse to work where it, the code or the disk is not the driver's."""
        task, job = self._task, self._task.job
        if not (job.ledger_folder / "manifest.json").exists():
            raise ConfigError(f"{job.ledger_folder}: {socket.gethostname()} does not see it; use a shared disk")
        model = task.spec.open()
        own = {**task.fingerprints, **spec_fingerprints(task.spec, model), "code": code_fingerprint()}
        if isinstance(job.source, HubInput):
            own["input"] = job.source.hash()
        return model, Ledger.open(job.ledger_folder, own, task.num_rows, job.rows_per_part), PartReader(job)


def score_file_on_ray(
    spec: ModelSpec, job: BulkJob, cluster: Cluster, on_progress: OnProgress = lambda *_: None
) -> BulkReport:
    """Score every row of a file with the workers of a Ray cluster; the output is that of one process.

    Raises:
        ConfigError: the cluster cannot be reached, has no room for the workers, or its machines differ.
        CheckpointError: the model cannot be used, or another job was begun here.
        ScoringError: a part killed its worker again and again.
    """
    spec, job = _with_absolute_paths(spec, job)
    with connected(cluster), explained_lack_of_room(job), only_writer(job):
        cluster = _with_gpus(cluster, spec)
        places = find_places(cluster)
        own = {**job.fingerprints(), **_ask_for_fingerprints(spec, cluster)}
        ledger = open_ledger(job, own)
        report = BulkReport(rows=ledger.num_rows)
        left = parts_to_do(job, ledger, report, on_progress)
        if left:
            size = min(places, len(left))
            logger.info("%d workers score %d parts", size, len(left))
            with tempfile.TemporaryDirectory(prefix=ATTEMPTS, dir=job.ledger_folder) as attempts:
                task = WorkerTask(spec, job, ledger.num_rows, own, Path(attempts))
                for part in _scored_parts(task, left, cluster, size):
                    on_progress(ledger.size_of(part), ledger.num_rows, False)
        return finish(job, ledger, report)


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect to the cluster, or begin one on this machine; end afterwards what was begun here.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_extra("ray", "ray") from error
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"no Ray cluster at {address!r}: {reason}; start one with `ray start --head`") from error
    try:
        yield
    finally:
        ray.shutdown()


def find_places(cluster: Cluster) -> int:
    """Return how many workers to start: those asked for, or as many as there is room for now.

    Ray waits without a word for what a cluster does not have, so this is settled before anything is started.

    Raises:
        ConfigError: there is no room for one worker, or for as many as were asked for.
    """
    import ray

    cpus, gpus = cluster.cpus_per_worker, cluster.gpus_per_worker or 0.0
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_fits(node, cpus, gpus) for node in nodes)
    need = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    held = ", ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes[:8])
    remedy = "lower --workers, --cpus-per-worker (fractions are fine) or --gpus-per-worker"
    if room < 1:
        raise ConfigError(f"no machine of the Ray cluster has {need} for one worker; they have {held}; {remedy}")
    asked = cluster.workers or 1
    free = _wait_for_places(cpus, gpus, cluster.workers or room) if asked <= room else room
    if free < asked:
        raise ConfigError(
            f"{asked} workers of {need} do not fit: the Ray cluster has room for {room}, {free} of it free now "
            f"({held}); {remedy}, or wait for other jobs"
        )
    return cluster.workers or min(free, room)


def _wait_for_places(cpus: float, gpus: float, wanted: int) -> int:
    """Return how many workers fit now; Ray needs a moment until it shows what a job that has ended gave back."""
    import ray

    deadline = time.monotonic() + SECONDS_TO_SETTLE
    while True:
        free = _fits(ray.available_resources(), cpus, gpus)
        if free >= wanted or time.monotonic() > deadline:
            return free
        time.sleep(0.2)


def _fits(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    by_cpu = int(resources.get("CPU", 0.0) / cpus + 1e-6)
    return by_cpu if not gpus else min(by_cpu, int(resources.get("GPU", 0.0) / gpus + 1e-6))


def _with_gpus(cluster: Cluster, spec: ModelSpec) -> Cluster:
    import ray

    if cluster.gpus_per_worker is not None:
        return cluster
    wanted = spec.options.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
    return replace(cluster, gpus_per_worker=1.0 if wanted else 0.0)


def _ask_for_fingerprints(spec: ModelSpec, cluster: Cluster) -> dict[str, str]:
    """Load the model once where a worker would, so that a model that cannot be used is said before any work."""
    import ray
    from ray.exceptions import RayError

    remote = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker or 0, max_retries=0)
    try:
        error, found = ray.get(remote(_describe).remote(spec))
    except RayError as failure:
        raise CheckpointError(f"{spec.name}: a worker could not load it: {_one_line(failure)}") from failure
    _raise(error)
    return found


def _describe(spec: ModelSpec) -> tuple[str, dict[str, str]]:
    try:
        return "", spec_fingerprints(spec, spec.open())
    except (RewardsmithError, OSError) as error:
        return f"{type(error).__name__}: {error}", {}


def _scored_parts(task: WorkerTask, parts: Sequence[int], cluster: Cluster, size: int) -> Iterator[int]:
    """Yield the parts as they are done."""
    import ray
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = SECONDS_FOR_FIRST_WORKER
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    done = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts)).map_batches(
        PartScorer,
        fn_constructor_args=(task,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=cluster.cpus_per_worker,
        num_gpus=cluster.gpus_per_worker or None,
    )
    try:
        for row in done.iter_rows():
            _raise(row["error"])
            yield int(row["part"])
    except RayError as error:
        message = f"Ray gave up: {_one_line(error)}; finished parts are kept: run the same command again"
        raise ScoringError(message) from error


def _raise(error: str) -> None:
    """Raise what a worker reported, as what it was there."""
    if error:
        kind, _, message = error.partition(": ")
        raise ERRORS.get(kind, CheckpointError)(message)


def _with_absolute_paths(spec: ModelSpec, job: BulkJob) -> tuple[ModelSpec, BulkJob]:
    """Workers run in other folders."""
    paths = (str(Path(name).resolve()) if Path(name).is_dir() else name for name in spec.paths)
    spec = replace(spec, paths=tuple(paths))
    source = job.source if isinstance(job.source, HubInput) else job.source.resolve()
    return spec, replace(job, source=source, out=job.out.resolve())


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
