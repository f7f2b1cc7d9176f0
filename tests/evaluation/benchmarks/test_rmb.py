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
