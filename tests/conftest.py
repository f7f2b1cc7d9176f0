"""What every test shares: no network, no deadlines, and the folder of real data."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

# A busy machine is no fault of the code under test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_data() -> Path:
    """Where real preference data lies: $REWARDSMITH_DATA, or ../shared/data beside the checkout."""
    return Path(os.environ.get("REWARDSMITH_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is absent."""
    folder = shared_data()
    if not folder.is_dir():
        pytest.skip(f"no real preference data at {folder}")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY
