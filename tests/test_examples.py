"""Every script of examples/ runs as it stands, on local paths."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import tiny_models

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny decoder without a reward head of its own, as a language model is saved."""
    from transformers import AutoModelForCausalLM

    from rewardsmith.models import fresh_model

    folder = tmp_path_factory.mktemp("model")
    tokenizer = fresh_model.train_tokenizer(["Question 1? good answer bad answer"] * 9, 300)
    AutoModelForCausalLM.from_config(fresh_model.new_config("tiny", tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """A tiny reward model as it is saved."""
    return tiny_models.save_fresh(tmp_path_factory.mktemp("reward"), ["Question 1? good answer bad answer"] * 9, 300)


@pytest.fixture
def run_example(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(path):
    return write(path, [{"prompt": f"Question {i}?\n", "chosen": "good answer", "rejected": "bad"} for i in range(12)])


@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
class TestScripts:
    def test_the_trl_script_runs_with_its_import_swapped(self, run_example, model, tmp_path):
        out = run_example("trl_guide.py", model, pairs(tmp_path / "p.jsonl"), "out")
        assert "saved out" in out
        scores = run_example("score_with_pipeline.py", "out", "Question 1?\ngood answer", "Question 1?\nbad")
        assert len(scores.strip().splitlines()) == 2

    def test_the_older_script_with_tokenizer_runs(self, run_example, model, tmp_path):
        out = run_example("older_script.py", model, pairs(tmp_path / "p.jsonl"), "out")
        assert "held-out accuracy" in out

    def test_ranked_lists_with_mean_pooling_run(self, run_example, model, tmp_path):
        rows = [
            {"prompt": f"Question {i}?\n", "completions": ["good", "fair", "bad", "awful"], "ranks": [1, 2, 3, 4]}
            for i in range(8)
        ]
        out = run_example("ranked_lists.py", model, write(tmp_path / "r.jsonl", rows), "out")
        assert len(json.loads(out.strip().splitlines()[-1])) == 3

    @pytest.mark.parametrize("name", ["rl_grpo.py", "rl_ppo.py", "rl_dpo_pairs.py"])
    def test_a_policy_is_optimised_against_a_saved_reward_model(self, name, run_example, model, reward, tmp_path):
        rows = [{"prompt": f"Question {i}?"} for i in range(8)]
        out = run_example(name, model, reward, write(tmp_path / "prompts.jsonl", rows), "out")
        assert "saved out" in out
        assert (tmp_path / "out" / "model.safetensors").is_file()


def test_the_notebook_holds_what_a_run_on_simulated_judgements_shows(repository):
    cells = json.loads((repository / "examples" / "tutorial.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    kinds = [set(output.get("data", {})) for cell in code for output in cell["outputs"]]
    assert sum("text/html" in kind for kind in kinds) >= 4
    assert any("image/png" in kind for kind in kinds)
    assert "<svg" in json.dumps([cell["outputs"] for cell in code])
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
