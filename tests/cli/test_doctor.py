"""`rewardsmith doctor`: lines for people, JSON for machines, an exit code for CI."""

import json

import healthy_runs
import pytest
import tiny_models


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "held_out.jsonl"
    path.write_text("\n".join(map(json.dumps, healthy_runs.judged_rows(60, 2))))
    return path


@pytest.fixture
def foreign_model(tmp_path):
    """A reward model of another tool: no contract, a template that ends in a newline."""
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_run_of_the_trainer_passes_even_when_strict(command, rows_file, tmp_path):
    healthy_runs.train(tmp_path / "run", *tiny_models.qwen2())
    code, out, err = command("doctor", tmp_path / "run", rows_file, "--strict")
    assert code == 0, out + err
    assert "0 red, 0 yellow" in out
    assert "'<|im_end|>' (id 2)" in out


def test_a_red_finding_exits_with_one_and_shows_the_remedy(command, foreign_model):
    code, out, _ = command("doctor", foreign_model)
    assert code == 1
    assert "ends in '\\n' after EOS" in out
    assert "-> let the template end in" in out


def test_yellow_passes_unless_strict(command, rows_file):
    rows = rows_file.read_text().splitlines()
    rows_file.write_text("\n".join(rows + rows[:5]))
    assert command("doctor", "--data", rows_file)[0] == 0
    code, out, _ = command("doctor", "--data", rows_file, "--strict")
    assert code == 1
    assert "0 red, 1 yellow" in out


def test_json_names_its_schema_and_every_finding(command, foreign_model, tmp_path):
    code, out, _ = command("doctor", foreign_model, "--json", "-")
    content = json.loads(out)
    assert (code, content["schema"], content["schema_version"], content["level"]) == (1, "rewardsmith.doctor", 1, "red")
    assert {"level", "check", "message", "remedy"} == set(content["findings"][0])
    command("doctor", foreign_model, "--json", "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["findings"] == content["findings"]


def test_nothing_to_examine_is_one_line(command):
    code, _, err = command("doctor")
    assert code == 1
    assert "give a model, data, or both" in err


def test_control_characters_of_a_checkpoint_do_not_reach_the_terminal(command, foreign_model):
    (foreign_model / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}\x1b[2J")
    _, out, _ = command("doctor", foreign_model)
    assert "\x1b[2J" not in out


def test_flags_of_scoring_are_taken(command, foreign_model, rows_file):
    code, out, err = command(
        "doctor", foreign_model, rows_file, "--batch-tokens", 512, "--truncate-prompt", "--limit", 20, "--max-length", 8
    )
    assert "agreement with labels" in out, err
    assert "cut, as was asked" in out
    assert "--batch-tokens" not in err
    code, _, err = command("doctor", foreign_model, "--batch-tokens", 0)
    assert (code, "tokens_per_batch is 0; give 1 or more" in err) == (1, True)
