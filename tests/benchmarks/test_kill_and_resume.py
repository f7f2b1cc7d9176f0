"""Jobs that are killed at random moments leave what a run leaves that nobody killed: the script at a few kills."""

import forking
import pytest


@pytest.mark.slow
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("kind", ["score", "train epochs", "train steps", "train over"])
def test_twenty_kills_lose_and_mix_nothing(repository, kind):
    result = forking.run([repository / "benchmarks" / "kill_and_resume.py", "--kills", 20, kind], timeout=1200)
    assert result.returncode == 0, (result.stdout + result.stderr)[-2000:]
    assert f"{kind}: {{'killed': 2" in result.stdout
