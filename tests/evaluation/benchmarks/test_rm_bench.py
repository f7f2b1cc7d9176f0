import pytest


def test_rm_bench_by_hand(run):
    # chosen 1 2 3, rejected 0.5 1.5 2.5: the diagonal and below are right, above is wrong.
    row = {
        "prompt": "p",
        "domain": "safety-refuse",
        "chosen": ["a 1", "b 2", "c 3"],
        "rejected": ["d 0.5", "e 1.5", "f 2.5"],
    }
    result = run("rm-bench", [row])
    assert [result.parts[level].value for level in ("easy", "normal", "hard")] == [1, 1, 0]
    assert result.parts["safety"].value == pytest.approx(2 / 3)
