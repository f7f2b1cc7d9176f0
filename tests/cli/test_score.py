"""`rewardsmith score` adds the rewards that the model gives in Python."""

import json

import forking
import pytest
import tiny_models
from small_runs import trainer_for

from rewardsmith.data.loading import load_preferences
from rewardsmith.models.foreign.folder import write_members
from rewardsmith.scoring.laplace import fit_laplace


@pytest.fixture(scope="module")
def model(tiny_model):
    from rewardsmith import RewardModel

    return RewardModel.from_pretrained(str(tiny_model))


def test_a_file_gets_the_rewards_that_python_gives(command, pairs_file, tiny_model, model, tmp_path):
    code, out, err = command("score", tiny_model, pairs_file, "out.jsonl", "--rows-per-part", 16, "--probabilities")
    assert code == 0, err
    assert "wrote 40 of 40 rows" in out
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row in rows:
        expected = model.score(row["prompt"], [row["chosen"], row["rejected"]])
        assert [row["chosen_reward"], row["rejected_reward"]] == pytest.approx(expected, abs=1e-5)
        likely = model.preference_probability(row["prompt"], row["chosen"], row["rejected"])
        assert row["chosen_probability"] == pytest.approx(likely, abs=1e-5)
    before = (tmp_path / "out.jsonl").read_bytes()
    code, out, _ = command("score", tiny_model, pairs_file, "out.jsonl", "--rows-per-part", 16, "--probabilities")
    assert (code, "40 were done before" in out) == (0, True)
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_shards_and_then_one_run_write_the_output(command, pairs_file, tiny_model, tmp_path):
    options = ("score", tiny_model, pairs_file, "out.parquet", "--rows-per-part", 16)
    assert command(*options, "--shard", "0/2")[0] == 0
    code, out, _ = command(*options, "--shard", "1/2")
    assert (code, "all parts are done" in out) == (0, True)
    assert not (tmp_path / "out.parquet").exists()
    code, out, _ = command(*options)
    assert (code, "40 were done before" in out) == (0, True)


def test_bad_rows_are_reported_and_no_row_at_all_is_a_failure(command, tiny_model, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "good answer"}\n{"text": null}\n')
    code, out, err = command("score", tiny_model, "in.jsonl", "out.csv")
    assert (code, "wrote 1 of 2 rows" in out) == (0, True)
    assert "not scored: 1 rows (null value); see out.csv.errors.jsonl" in err
    (tmp_path / "bad.jsonl").write_text('{"text": null}\n')
    assert command("score", tiny_model, "bad.jsonl", "none.csv")[0] == 1


def test_an_empty_answer_is_an_answer(command, tiny_model, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "question", "completions": ["", "good answer"]}\n{"text": ""}\n')
    code, out, _ = command("score", tiny_model, "in.jsonl", "out.jsonl")
    assert (code, "wrote 2 of 2 rows" in out) == (0, True)


def test_a_changed_model_is_refused(command, pairs_file, tiny_model, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    assert command("score", copy, pairs_file, "out.jsonl")[0] == 0
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rewardsmith_note": 1}))
    code, _, err = command("score", copy, pairs_file, "out.jsonl")
    assert code == 1
    assert "another model" in err


def test_prompts_are_cut_only_when_that_is_asked_for_and_the_ledger_knows(command, tiny_model, model, tmp_path):
    long = " ".join(["maybe good is question"] * model.max_length)
    rows = [{"prompt": long, "completion": "fine"}, {"prompt": "is", "completion": "fine"}]
    rows += [{"prompt": [{"role": "user", "content": long}], "completion": [{"role": "assistant", "content": "poor"}]}]
    rows += [{"prompt": "is", "completion": long}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = command("score", tiny_model, "in.jsonl", "out.jsonl")
    assert (code, "wrote 1 of 4 rows" in out, "not scored: 3 rows (too long)" in err) == (0, True, True)
    code, _, err = command("score", tiny_model, "in.jsonl", "out.jsonl", "--truncate-prompt")
    assert (code, "begun with another truncation" in err) == (1, True)
    options = ("score", tiny_model, "in.jsonl", "cut.jsonl", "--truncate-prompt", "--rows-per-part", 2)
    for before in (0, 4):
        code, out, err = command(*options)
        assert (code, f"wrote 3 of 4 rows to cut.jsonl ({before} were done before)" in out) == (0, True), err
        assert "not scored: 1 rows (too long)" in err
        assert "prompt cut at its start to fit the model: 2 rows" in err
    found = [json.loads(line)["reward"] for line in (tmp_path / "cut.jsonl").read_text().splitlines()]
    asked = [(row["prompt"], [row["completion"]]) for row in rows[:3]]
    expected = [model.score(*pair, truncation="truncate_prompt")[0] for pair in asked]
    assert found == pytest.approx(expected, abs=1e-5)


def test_an_output_that_would_change_the_model_or_cannot_be_written_is_refused(command, pairs_file, tiny_model):
    code, _, err = command("score", tiny_model, pairs_file, f"{tiny_model}/out.jsonl")
    assert code == 1
    assert "lies in the model's own folder" in err
    code, _, err = command("score", tiny_model, pairs_file, "/proc/none/out.jsonl")
    assert code == 1
    assert "name another place" in err
    assert "Errno" not in err


def test_flags_of_ray_need_its_engine(command, pairs_file, tiny_model):
    code, _, err = command("score", tiny_model, pairs_file, "out.jsonl", "--workers", 2)
    assert (code, "workers: only --engine ray has such" in err) == (1, True)


def test_a_missing_ray_is_an_error_with_the_remedy(command, pairs_file, tiny_model, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = command("score", tiny_model, pairs_file, "out.jsonl", "--engine", "ray")
    assert (code, "pip install 'rewardsmith[ray]'" in err) == (1, True)


def test_an_input_that_is_nowhere_is_refused_before_the_model_is_loaded(command):
    code, _, err = command("score", "no-model", "nothing.jsonl", "out.jsonl")
    assert (code, "nothing.jsonl: no such file or folder" in err) == (1, True)


@pytest.mark.slow
@pytest.mark.alone
def test_ray_writes_what_one_process_writes(pairs_file, tiny_model, tmp_path):
    pytest.importorskip("ray.data", reason="needs rewardsmith[ray]")
    written = []
    for name, options in (("one", []), ("ray", ["--engine", "ray", "--workers", "1"])):
        out = tmp_path / name / "out.jsonl"
        command = ["-m", "rewardsmith", "score", tiny_model, pairs_file, out, "--rows-per-part", "8"]
        done = forking.run([*command, *options])
        assert done.returncode == 0, done.stderr
        assert "wrote 40 of 40 rows" in done.stdout
        written.append(out.read_bytes())
    assert written[0] == written[1]


def test_columns_of_ones_own_are_mapped_and_a_row_without_one_is_counted(command, tiny_model, model, tmp_path):
    rows = [{"q": "Question?", "reply": "good answer", "id": 7}, {"q": "no reply"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("--columns", "q=prompt", "reply=completion")
    code, out, err = command("score", tiny_model, "in.jsonl", "out.jsonl", *names)
    assert (code, "wrote 1 of 2 rows" in out) == (0, True)
    assert "not scored: 1 rows (missing column)" in err
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row.pop("reward") == pytest.approx(model.score("Question?", ["good answer"])[0], abs=1e-5)
    assert row == {"prompt": "Question?", "completion": "good answer", "id": 7}
    code, _, err = command("score", tiny_model, "in.jsonl", "out.jsonl", "--columns", "reply=completion")
    assert (code, "options" in err) == (1, True)


ANSWERS = ["good answer 1", "bad reply 2 no", "good answer", "no"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_best_of_n_prints_its_kl(command, tmp_path):
    row = {"prompt": "q", "completions": ["a", "b", "c", "d"], "rewards": [1.0, 4.0, 2.0, 3.0]}
    write(tmp_path / "in.jsonl", [row])
    code, out, err = command("rank", "in.jsonl", "out.jsonl")
    assert code == 0, err
    assert "0.6363 nats" in out
    assert json.loads((tmp_path / "out.jsonl").read_text())["completion"] == "b"
    code, _, err = command("rank", "in.jsonl", "out.jsonl")
    assert (code, "--overwrite" in err) == (1, True)


def test_pairs_from_a_model_are_preferences(command, tiny_model, tmp_path):
    from rewardsmith import RewardModel

    prompts = [f"Question {i} about a thing?\n" for i in range(3)]
    write(tmp_path / "in.jsonl", [{"prompt": p, "completions": ANSWERS} for p in prompts])
    arguments = ("rank", "in.jsonl", "out.jsonl", "--model", tiny_model, "--take", "pairs", "--k", 2)
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "wrote 6 rows" in out
    assert "0.6363 nats" in out
    model = RewardModel.from_pretrained(str(tiny_model))
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        rewards = model.score(row["prompt"], [row["chosen"], row["rejected"]])
        assert rewards[0] - rewards[1] == pytest.approx(row["margin"], abs=1e-5)
        assert row["margin"] > 0
    assert len(load_preferences(tmp_path / "out.jsonl")) == 3


def test_columns_of_ones_own_are_mapped(command, tmp_path):
    write(tmp_path / "in.jsonl", [{"q": "q", "replies": ["a", "b"], "rewards": [1.0, 2.0]}])
    code, _, err = command("rank", "in.jsonl", "out.jsonl", "--columns", "q=prompt", "replies=completions")
    assert code == 0, err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["prompt"], row["completion"]) == ("q", "b")


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory):
    """A folder of two models, one of three heads on one backbone, and one with a distribution of its head."""
    place = tmp_path_factory.mktemp("ensembles")
    data = tiny_models.pairs(8)
    for seed in (1, 2):
        trainer_for(place / "models" / f"member-{seed}", data, data_seed=seed).save_model()
    write_members(place / "models", ["member-1", "member-2"])
    heads = trainer_for(place / "heads", data, ensemble=3, ensemble_kind="heads", max_steps=2)
    heads.train()
    heads.save_model()
    trainer_for(place / "laplace", data).save_model()
    fit_laplace(place / "laplace", data)
    return {kind: place / kind for kind in ("models", "heads", "laplace")}


@pytest.mark.parametrize(
    ("kind", "combine"), [("models", "min"), ("heads", "min"), ("heads", "soft_min"), ("laplace", "mean_minus_std")]
)
def test_an_ensemble_in_one_folder_ranks_by_its_pessimistic_reward(command, ensembles, tmp_path, kind, combine):
    from rewardsmith import RewardModel

    rows = [{"prompt": f"Question {i} about a thing?\n", "completions": ANSWERS} for i in range(2)]
    write(tmp_path / "in.jsonl", rows)
    asked = ("--combine", combine, "--penalty", 0.5)
    code, _, err = command("rank", "in.jsonl", "out.jsonl", "--model", ensembles[kind], *asked)
    assert code == 0, err
    model = RewardModel.from_pretrained(str(ensembles[kind]), combine=combine, penalty=0.5)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row, out in zip(rows, found, strict=True):
        rewards = dict(zip(ANSWERS, model.score(row["prompt"], ANSWERS), strict=True))
        assert out["reward"] == pytest.approx(max(rewards.values()), abs=1e-5)
        assert out["completion"] == max(rewards, key=rewards.__getitem__)


def test_rank_fails_where_no_row_could_be_scored(command, tiny_model, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "q", "reply": "a"}\n')
    code, out, err = command("rank", source, tmp_path / "out.jsonl", "--model", tiny_model, "--device", "cpu")
    assert code == 1
    assert "wrote 0 rows" in out
    assert "not scored: 1 rows" in err


def test_an_answer_without_a_reward_costs_itself_and_rank_passes_it_by(command, tiny_model, model, tmp_path):
    rows = [{"prompt": "Question 1?\n", "completions": ["good answer", None, "bad reply", 7]}]
    write(tmp_path / "in.jsonl", rows)
    code, out, err = command("score", tiny_model, "in.jsonl", "out.jsonl")
    assert (code, "wrote 1 of 1 rows" in out) == (0, True)
    assert "not scored: 1 single answers (null value), their rewards are null" in err
    assert "first: in.jsonl:row 1: column 'completions[1]' is null" in err
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    whole = model.score("Question 1?\n", ["good answer", "bad reply"])
    assert [reward is None for reward in row["rewards"]] == [False, True, False, True]
    assert [reward for reward in row["rewards"] if reward is not None] == pytest.approx(whole, abs=1e-6)
    for source, more in (("out.jsonl", ()), ("in.jsonl", ("--model", tiny_model))):
        code, out, err = command("rank", source, f"best-{source}", *more)
        assert code == 0, err
        assert "2 answers have no reward and were passed by" in out
        (best,) = [json.loads(line) for line in (tmp_path / f"best-{source}").read_text().splitlines()]
        assert (best["reward"], best["n"]) == (pytest.approx(max(whole), abs=1e-6), 2)


def test_what_a_template_refuses_is_said_with_its_row_and_the_remedy(command, tmp_path):
    strict, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') if messages[0].role == 'system' }}" + (
        tokenizer.chat_template or ""
    )
    for part in (strict, tokenizer):
        part.save_pretrained(tmp_path / "strict")
    turns = [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]
    write(tmp_path / "in.jsonl", [{"prompt": turns, "completion": [{"role": "assistant", "content": "good"}]}])
    code, _, err = command("score", "strict", "in.jsonl", "out.jsonl")
    assert code == 1
    assert "not scored: 1 rows (refused by the chat template)" in err
    assert "first: in.jsonl:row 1: the chat template refused a conversation" in err
    assert "roles must alternate; write a system text into the first user message" in err
