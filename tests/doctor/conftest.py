"""A healthy run, trained once, and copies of it to plant faults in."""

import shutil

import healthy_runs
import pytest
import tiny_models


@pytest.fixture(scope="session")
def healthy_run(tmp_path_factory):
    return healthy_runs.train(tmp_path_factory.mktemp("run") / "healthy", *tiny_models.qwen2())


@pytest.fixture(scope="session")
def held_out():
    return healthy_runs.judged_rows(120, 2)


@pytest.fixture
def copy_of(healthy_run, tmp_path):
    """A copy of the healthy run to plant a fault in."""
    return shutil.copytree(healthy_run, tmp_path / "run")
