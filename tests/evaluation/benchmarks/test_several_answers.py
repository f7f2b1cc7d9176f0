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


def test_rmb_wants_the_best_above_every_loser_and_reads_stringified_fields(run):
    prompt = str([{"role": "user", "content": "hi"}])
    pair = {
        "conversation_input": prompt,
        "chosen": str({"answer": "a 2"}),
        "reject": {"answer": "b 1"},
        "category_path": "P/Helpfulness/x",
    }
    best = {
        "conversation_input": prompt,
        "bon_best": {"answer": "a 2"},
        "loser_list": [{"answer": "b 1"}, {"answer": "c 2"}],
        "category_path": "B/Helpfulness/x",
    }
    result = run("rmb", [pair, best])
    assert (result.parts["Helpfulness pairs"].value, result.parts["Helpfulness lists"].value) == (1, 0)
    assert result.score.value == 0.5
