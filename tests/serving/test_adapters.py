"""The documented names of the adapters and the client go on working, by import and by file path."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rewardsmith

SERVING = Path(rewardsmith.__file__).parent / "serving"
# What each documented module gave before the adapters moved to rewardsmith.clients.
DOCUMENTED = {
    "client": ("AsyncRewardClient", "ClientOptions", "RewardClient"),
    "adapters/nemo": ("NemoRewardEnvironment", "StepResult"),
    "adapters/openrlhf": ("openrlhf_reward_function", "reward_func"),
    "adapters/swift": ("SwiftReward",),
    "adapters/trl": ("trl_reward_function",),
    "adapters/verl": ("compute_score", "verl_compute_score"),
}


def load_file(path):
    """Load a module by its path, as verl and OpenRLHF do."""
    spec = importlib.util.spec_from_file_location("custom_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_a_documented_name_is_the_client_by_import_and_by_file_path(documented):
    home = importlib.import_module(f"rewardsmith.clients.{documented.rpartition('/')[2]}")
    by_import = importlib.import_module(f"rewardsmith.serving.{documented.replace('/', '.')}")
    by_path = load_file(SERVING / f"{documented}.py")
    for name in DOCUMENTED[documented]:
        assert getattr(by_import, name) is getattr(home, name)
        assert getattr(by_path, name) is getattr(home, name)


def test_documented_names_load_neither_torch_nor_the_packages_of_the_server():
    rooms = [f"rewardsmith.serving.{name.replace('/', '.')}" for name in DOCUMENTED]
    code = f"import sys, {', '.join(rooms)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "fastapi", "starlette", "pydantic", "numpy"} & set(loaded)
