"""`rewardsmith audit`: one command, one report."""

import json
import shutil

import pytest

from rewardsmith.cli.main import main

# The simulator's gold reads the answer alone: without the prompt it is as good, which is a finding of its own.
FAST = ("--sample", 30, "--resamples", 100, "--no-prompt-blind")


@pytest.fixture
def simulated(command, tmp_path):
    command("data", "simulate", "--prompts", 40, "--answers", "2-3", tmp_path / "sim.jsonl")
    command("data", "simulate", "--prompts", 30, "--answers", "2-2", "--seed", 1, tmp_path / "other.jsonl")
    return tmp_path


def test_two_models_on_two_data_sets_give_one_report(command, simulated):
    code, out, err = command(
        *("audit", "simulator:gold", "simulator:length=2", "--data", "sim.jsonl", "--data", "second=other.jsonl"),
        *(*FAST, "--html", "audit.html", "--json", "audit.json"),
    )
    assert code == 0
    assert "length bias to longer answers" in out
    assert "wrote audit.html" in err
    plain = json.loads((simulated / "audit.json").read_text())
    assert (plain["schema"], plain["schema_version"]) == ("rewardsmith.audits", 1)
    found = [(result["schema"].removeprefix("rewardsmith."), result["data"]) for result in plain["results"]]
    both = "sim, second"
    one = [("audit", both), ("evaluation", "sim"), ("evaluation", "second")]
    assert found == [*one, *one, ("comparison", both)]
    page = (simulated / "audit.html").read_text()
    assert page.count("<h2 ") >= 4
    assert "simulator:length=2" in page


def test_the_clean_model_is_green_and_the_planted_one_red(command, simulated):
    words = {}
    for model in ("simulator:gold", "simulator:length=2"):
        _, out, _ = command("audit", model, "sim.jsonl", *FAST)
        words[model] = [line.split()[0] for line in out.splitlines() if line.startswith(("red", "yellow", "green"))]
    assert set(words["simulator:gold"]) == {"green"}
    assert "red" in words["simulator:length=2"]


@pytest.mark.parametrize(
    ("level", "model", "code"), [("red", "gold", 0), ("red", "length=2", 1), ("yellow", "gold", 0)]
)
def test_the_exit_code_follows_the_worst_finding(command, simulated, level, model, code):
    assert command("audit", f"simulator:{model}", "sim.jsonl", *FAST, "--fail-on", level)[0] == code


def test_json_on_stdout_is_all_there_is_on_stdout(command, simulated):
    code, out, _ = command("audit", "simulator:gold", "sim.jsonl", *FAST, "--json", "-")
    assert code == 0
    assert json.loads(out)["schema"] == "rewardsmith.audit"


def test_a_sample_of_the_groups_is_drawn_by_seed_and_said(command, simulated):
    runs = []
    for seed in (0, 0, 1):
        _, out, err = command(
            "audit", "simulator:gold", "sim.jsonl", *FAST, "--draw", 10, "--seed", seed, "--json", "-"
        )
        assert "sim: drew 10 of 40 groups" in err
        runs.append(json.loads(out))
    assert runs[0]["groups"] == 10
    assert runs[0] == runs[1]
    assert runs[0]["length"]["points"] != runs[2]["length"]["points"]


def test_a_model_of_ours_is_audited_in_its_other_forms(command, tiny_model, pairs_file):
    code, out, _ = command("audit", tiny_model, pairs_file, "--sample", 12, "--resamples", 100, "--json", "-")
    assert code == 0
    plain = json.loads(out)
    checks = {check["name"]: check for check in plain["invariances"]}
    assert set(checks) == {
        *("same again", "order of answers", "every answer alone", "one prompt at a time", "bf16 against fp32"),
        *("right padding, Hugging Face's own forward", "left padding, Hugging Face's own forward"),
        *("rendered text, tokenised again", "separate against shared prefix"),
    }
    broken = {name for name, check in checks.items() if check["ok"] is False}
    assert broken <= {"bf16 against fp32", "left padding, Hugging Face's own forward"}
    assert set(plain["length"]["other_units"]) == {"characters", "tokens"}


def test_models_together_give_matrix_and_ensemble(command, simulated):
    _, out, _ = command(
        *("audit", "simulator:noise=1,seed=1", "simulator:noise=1,seed=2", "--data", "sim.jsonl"),
        *("--data", "other.jsonl", "--trained-on", "sim", "--trained-on", "elsewhere", "--ensemble-risk", *FAST),
        *("--json", "-"),
    )
    together = next(r for r in json.loads(out)["results"] if r["schema"] == "rewardsmith.models_together")
    assert set(together["shift"]["matrix"]) == {"sim", "elsewhere"}
    assert set(together["shift"]["matrix"]["sim"]) == {"sim", "other"}
    assert together["risk"]["accuracy"]["value"] > 0.5
    assert "agreement" in together["risk"]["by_confidence"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("simulator:gold",), 2, "give MODEL and DATA"),
        (("simulator:gold", "sim.jsonl", "--sample", 1), 2, "--sample must be at least 2"),
        (("simulator:gold", "sim.jsonl", "--draw", 0), 2, "--draw must be at least 1"),
        (("simulator:gold", "sim.jsonl", "--gold", "simulator:gold"), 2, "--gold needs --samples"),
        (("simulator:gold", "sim.jsonl", "--ensemble-risk"), 1, "two or more models"),
        (("simulator:gold", "sim.jsonl", "--trained-on", "a", "--trained-on", "b"), 1, "2 names for 1 models"),
        (("simulator:gold", "--data", "sim.jsonl", "--data", "sim.jsonl"), 1, "two data sets are named 'sim'"),
        (("simulator:gold", "missing.jsonl"), 1, "missing.jsonl"),
        (("simulator:gold", "sim.jsonl", "--sampel", 3), 2, "did you mean --sample"),
    ],
)
def test_wrong_input_is_one_line_with_its_remedy(command, simulated, arguments, code, words):
    found, _, err = command("audit", *arguments)
    assert found == code
    [line] = [line for line in err.splitlines() if "error" in line]
    assert words in line


def test_the_model_card_holds_the_findings_once_however_often(command, simulated, tiny_model):

    tiny_model = shutil.copytree(tiny_model, simulated / "mine")
    rows = (simulated / "sim.jsonl").read_text().splitlines(keepends=True)
    (simulated / "few.jsonl").write_text("".join(rows[:12]))
    for _ in range(2):
        arguments = ("audit", tiny_model, "few.jsonl", *FAST, "--no-variants", "--model-card")
        code, out, err = command(*arguments)
        assert code == 0, err
    card = (tiny_model / "README.md").read_text()
    assert card.count("## Audited on few") == 1
    assert "| accuracy |" in card
    assert "| baseline: longest |" in card
    colours = ("red", "yellow", "green")
    levels = [line.split()[0] for line in out.splitlines() if line.startswith(colours)]
    items = [line[2:].split(":")[0] for line in card.splitlines() if line.startswith("- ")]
    assert [item for item in items if item in colours] == levels


def test_only_a_folder_of_a_model_has_a_card(command, simulated):
    code, _, err = command("audit", "simulator:gold", "sim.jsonl", *FAST, "--model-card")
    assert code == 1
    assert "is no folder of a model" in err


def test_data_of_ties_alone_is_audited_without_selective_risk(tmp_path, capsys):
    rows = [{"prompt": f"p{i}", "completions": ["a", "longer"], "scores": [1, 1]} for i in range(4)]
    path = tmp_path / "ties.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rule = tmp_path / "rule.py"
    rule.write_text("def score(prompt, answers):\n    return [float(len(answer)) for answer in answers]\n")
    assert main(["audit", f"{rule}:score", str(path), "--sample", "4", "--resamples", "20", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["metrics"]["accuracy"]["n"] == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FASTEST = ("--sample", 2, "--no-variants", "--resamples", 100)


def test_samples_of_the_simulator_turn_and_the_curve_is_printed(command, folder):
    command("data", "simulate", "data.jsonl", "--prompts", 20)
    code, out, _ = command(
        "audit", "simulator:praise=1.32", "data.jsonl", "--samples", "simulator:40x128", *FASTEST, "--json", "a.json"
    )
    assert code == 0
    assert "the curve turns at KL" in out
    part = json.loads((folder / "a.json").read_text())["over_optimisation"]
    assert part["n"][-1] == 128
    proxy = [point["value"] for point in part["proxy"]]
    assert proxy == sorted(proxy)
    assert part["fit"]["turning_kl"]["low"] < part["fit"]["turning_kl"]["value"] < part["kl"][-1]


def test_gold_may_be_the_right_number_and_repeated_answers_count(command, folder):
    answers = ["the answer is 5", "the answer is 5", "I think it is 4", "7"]
    rows = [{"prompt": f"{i}?", "completions": answers} for i in range(6)]
    write(folder / "samples.jsonl", [{**row, "truth": "#### 5"} for row in rows])
    write(folder / "scores.jsonl", [{**row, "scores": [2, 2, 1, 0]} for row in rows])
    code, _, err = command(
        "audit", "scores.jsonl", "scores.jsonl", "--samples", "samples.jsonl", "--gold", "final-number:truth", *FASTEST,
        "--json", "a.json",
    )  # fmt: skip
    assert code == 0, err
    part = json.loads((folder / "a.json").read_text())["over_optimisation"]
    # Half of four samples are right; of two the best is right unless both are wrong ones: 1 - 1/6.
    assert [point["value"] for point in part["gold"]] == pytest.approx([0.5, 5 / 6, 1.0, 1.0])
    assert part["samples"]["per_prompt"] == 4


def test_a_matrix_of_sources_and_an_ensemble_are_printed(command, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    command("data", "simulate", "quality.jsonl", "--prompts", 30, "--seed", 1)
    command("data", "simulate", "length.jsonl", "--prompts", 30, "--seed", 2, "--length-bias", 5)
    code, out, _ = command(
        "audit", "simulator:gold", "simulator:length=5", "--data", "quality.jsonl", "--data", "length.jsonl",
        "--trained-on", "quality", "--trained-on", "length", "--ensemble-risk",
        "--train-data", "quality.jsonl", *FASTEST,
    )  # fmt: skip
    assert code == 0
    for words in ("lost against the model", "lowest member", "same pair", "newest minus oldest"):
        assert words in " ".join(out.split())


def test_columns_of_ones_own_names_are_read_as_evaluate_reads_them(command, tmp_path):
    rows = [{"Frage": f"What is {i}?", "gut": f"{i} it is", "schlecht": "no"} for i in range(12)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = ("--columns", "Frage=prompt", "gut=chosen", "schlecht=rejected")
    (tmp_path / "judge.py").write_text("def by_length(prompt, answers):\n    return [len(a) for a in answers]\n")
    command("audit", "judge.py:by_length", "odd.jsonl", *FAST, *named, "--json", "a.json")
    command("evaluate", "judge.py:by_length", "odd.jsonl", "--no-prompt-blind", *named, "--json", "e.json")
    found = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "e.json")]
    assert found[0]["evaluation"]["metrics"]["accuracy"]["n"] == 12
    assert found[0]["evaluation"]["metrics"]["accuracy"] == found[1]["metrics"]["accuracy"]
