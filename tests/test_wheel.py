"""The built wheel, installed into an empty environment, runs the demo."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run(*arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    result = subprocess.run([str(a) for a in arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory, repository):
    """An environment that holds the wheel alone; what it depends on is read from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, repository)
    run(sys.executable, "-m", "pip", *build, cwd=folder)
    (wheel,) = folder.glob("rewardsmith-*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env" / "bin"


def test_the_wheel_runs_the_demo(environment, tmp_path):
    where = run(environment / "python", "-c", "import rewardsmith; print(rewardsmith.__file__)", cwd=tmp_path)
    assert str(environment.parent) in where
    out = run(environment / "rewardsmith", "demo", "--num_prompts", "100", cwd=tmp_path)
    assert "gold ceiling" in out
    assert (tmp_path / "demo" / "model" / "model.safetensors").is_file()


def test_the_wheel_brings_its_recipes_and_types(environment, tmp_path):
    code = "import rewardsmith, pathlib; p = pathlib.Path(rewardsmith.__file__).parent; "
    code += "print((p / 'py.typed').is_file(), sorted(x.stem for x in (p / 'recipes').glob('*.yaml')))"
    out = run(environment / "python", "-c", code, cwd=tmp_path)
    assert out.startswith("True")
    assert "from_scratch" in out
