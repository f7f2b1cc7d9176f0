"""`rewardsmith evaluate` and `compare`: anything that scores, and what they leave in the model's folder."""

import json
import shutil

import healthy_runs
import pytest
import tiny_models

from rewardsmith.models.contract import read_contract


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model that a healthy run saved, with its contract and model card."""
    folder = healthy_runs.train(tmp_path_factory.mktemp("run") / "model", *tiny_models.qwen2())
    (folder / "README.md").write_text("---\ntags: [x]\n---\n\n# Mine\n\nWords of a person.\n")
    return folder


@pytest.fixture
def model(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "model")


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "held out.jsonl"
    path.write_text("\n".join(map(json.dumps, healthy_runs.judged_rows(80, 5))))
    return path


@pytest.fixture
def results(command, rows_file):
    """Evaluate a scorer and give its JSON."""

    def call(*arguments):
        code, out, err = command("evaluate", *arguments, rows_file, "--resamples", 50, "--json", "-")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def served(trained):
    """The model behind a live server."""
    import threading
    import time

    from rewardsmith.scoring import RewardModel
    from rewardsmith.serving.app import build_app
    from rewardsmith.serving.run import Address, GracefulServer

    server = GracefulServer(build_app(RewardModel.from_pretrained(str(trained))), Address("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.bound_port}"
    server.should_exit = True
    thread.join(timeout=20)


def test_a_model_a_server_a_file_and_a_function_are_evaluated_alike(
    results, command, model, served, rows_file, tmp_path
):
    local, remote = results(model), results(served)
    for name in ("accuracy", "margin"):
        assert remote["metrics"][name]["value"] == pytest.approx(local["metrics"][name]["value"], abs=1e-5)
    assert local["baselines"].keys() == remote["baselines"].keys() >= {"longest", "prompt_blind"}
    assert command("score", model, rows_file, "scores.jsonl")[0] == 0
    from_file = results("--scores", tmp_path / "scores.jsonl")
    assert from_file["metrics"]["accuracy"] == local["metrics"]["accuracy"]
    assert "prompt_blind" not in from_file["baselines"]
    (tmp_path / "rules.py").write_text(
        "def good(prompt, completions):\n"
        "    words = ('good', 'fine', 'nice', 'great')\n"
        "    return [sum(c[0].content.count(w) for w in words) for c in completions]\n"
    )
    assert results("rules.py:good")["metrics"]["accuracy"]["value"] == 1.0


def test_compare_takes_every_kind_of_scorer(command, model, served, rows_file, tmp_path):
    (tmp_path / "rules.py").write_text("def longest(prompt, cs):\n    return [len(c[0].content) for c in cs]\n")
    command("score", model, rows_file, "scores.jsonl")
    for other, flips in ((served, 0), ("scores.jsonl", 0), ("rules.py:longest", None)):
        code, out, err = command("compare", model, other, rows_file, "--resamples", 50, "--show", 1)
        assert code == 0, err
        assert "judgements flipped" in out
        if flips is not None:
            assert f"{flips} of 80 judgements flipped" in out


def test_the_temperature_goes_into_the_contract_and_changes_nothing_else(command, model, tmp_path):
    rows = healthy_runs.judged_rows(80, 5)
    # A model that is right on every row has no temperature, so every fourth label is turned.
    rows[::4] = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[::4]]
    (tmp_path / "noisy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    before = read_contract(model)
    code, out, err = command("evaluate", model, "noisy.jsonl", "--save-temperature", "--resamples", 50, "--json", "-")
    assert code == 0, err
    after = read_contract(model)
    assert after.temperature == pytest.approx(json.loads(out)["calibration"]["temperature"])
    assert after.temperature > 1
    assert after.model_copy(update={"temperature": 1.0}) == before


def test_the_model_card_holds_one_section_for_each_data_set_however_often(command, model, rows_file, tmp_path):
    other = shutil.copy(rows_file, tmp_path / "other.jsonl")
    for data in (rows_file, rows_file, other, rows_file):
        code, _, err = command("evaluate", model, data, "--model-card", "--resamples", 50)
        assert code == 0, err
    card = (model / "README.md").read_text()
    assert card.startswith("---\ntags: [x]\n---\n\n# Mine\n\nWords of a person.\n")
    assert card.count("## Measured on `held out.jsonl`") == 1
    assert card.count("## Measured on `other.jsonl`") == 1
    for line in ("| accuracy |", "| baseline: longest |", "| baseline: prompt blind |", "calibration error"):
        assert card.count(line) == 2
    before = card
    command("evaluate", model, rows_file, "--model-card", "--resamples", 50)
    assert (model / "README.md").read_text() == before


def test_a_benchmark_goes_into_the_card_too(command, model, tmp_path):
    rows = [{"input": "question", "output_1": "good answer", "output_2": "bad answer", "label": 1}]
    (tmp_path / "dataset.json").write_text(json.dumps(rows))
    arguments = ("evaluate", model, "dataset.json", "--benchmark", "llmbar", "--resamples", 50)
    assert command(*arguments, "--model-card")[0] == 0
    assert "## llmbar" in (model / "README.md").read_text()
    code, _, err = command(*arguments, "--save-temperature")
    assert code == 1
    assert "leave --benchmark out" in err


def test_what_is_no_folder_of_a_model_has_no_card(command, rows_file, model, tmp_path):
    (tmp_path / "rules.py").write_text("def f(prompt, cs):\n    return [1.0 for c in cs]\n")
    code, _, err = command("evaluate", "rules.py:f", rows_file, "--model-card")
    assert (code, "no folder of a model" in err) == (1, True)
    (model / "scoring_contract.json").unlink()
    code, _, err = command("evaluate", model, rows_file, "--save-temperature", "--resamples", 50)
    assert code == 1
    assert "has no scoring_contract.json" in err


def test_prompts_that_are_too_long_are_an_error_until_they_are_cut_on_purpose(command, model, tmp_path):
    row = healthy_runs.judged_rows(1, 9)[0]
    long = {**row, "prompt": [{"role": "user", "content": "question " * 3000}]}
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, [row, long])))
    code, _, err = command("evaluate", model, "long.jsonl", "--resamples", 50)
    assert code == 1
    assert "truncate" in err
    assert command("evaluate", model, "long.jsonl", "--resamples", 50, "--truncate-prompt")[0] == 0


def test_answers_that_are_too_long_are_left_out_and_counted_on_purpose(command, model, tmp_path):
    rows = healthy_runs.judged_rows(3, 9)
    rows[1] = {**rows[1], "chosen": [{"role": "assistant", "content": "good " * 3000}]}
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, _, err = command("evaluate", model, "long.jsonl", "--resamples", 50, "--truncate-prompt")
    assert (code, "--skip-bad leaves out" in err) == (1, True)
    arguments = ("evaluate", model, "long.jsonl", "--resamples", 50, "--skip-bad")
    code, out, err = command(*arguments, "--truncate-prompt", "--json", "-")
    assert code == 0, err
    assert "dropped 1 rows (longer than the model reads)" in err
    assert (json.loads(out)["groups"], json.loads(out)["dropped"]) == (2, {"longer than the model reads": 1})
    plain = [{"input": "q", "output_1": "good", "output_2": "bad " * size, "label": 1} for size in (1, 3000)]
    (tmp_path / "dataset.json").write_text(json.dumps(plain))
    code, out, err = command("evaluate", model, "dataset.json", "--benchmark", "llmbar", "--skip-bad", "--json", "-")
    assert code == 0, err
    assert json.loads(out)["left_out"] == {"longer than the model reads": 1}
    assert "not comparable with published ones" in err


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_rows_are_written_in_every_format_and_the_verdict_is_printed(command, rows_file, tmp_path, name):
    from rewardsmith.files.reading import read_rows

    (tmp_path / "rules.py").write_text("def longest(prompt, cs):\n    return [len(c[0].content) for c in cs]\n")
    code, out, err = command("evaluate", "rules.py:longest", rows_file, "--rows", name, "--resamples", 50)
    assert code == 0, err
    assert "verdict: " in out
    found = [row for _, row in read_rows(tmp_path / name)]
    assert len(found) == 80
    assert {"right", "reward_better", "length_worse", "source"} <= set(found[0])


def test_arguments_in_the_wrong_order_are_named(command, rows_file, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    code, _, err = command("evaluate", rows_file, tmp_path / "model")
    assert code == 1
    assert "MODEL DATA" in err
