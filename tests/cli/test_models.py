"""`rewardsmith export` writes, says how far rewards agree, and refuses in one line."""

import json
import shutil

import foreign_layouts
import pytest
import tiny_models
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.cli.main import main
from rewardsmith.models.contract import read_contract
from rewardsmith.models.foreign.folder import write_members


def test_export_says_rule_and_parity(command, tmp_path):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm")
    code, out, err = command("export", path, "standard", "--no-verify")
    assert code == 0, err
    assert "wrote standard: Qwen2ForSequenceClassification, float32" in out
    assert "rule: layout: OpenRLHF" in out
    assert "parity: rewards of 14 texts differ by" in out
    before = RewardModel.from_pretrained(path, device="cpu").score("is maybe", "good")
    after = RewardModel.from_pretrained("standard", device="cpu").score("is maybe", "good")
    assert after == pytest.approx(before, abs=1e-5)


def test_a_dropped_bias_is_named(command, tmp_path):
    path, _ = foreign_layouts.value_head(tmp_path / "rm")
    code, out, err = command("export", path, "standard", "--drop-bias", "--no-verify")
    assert code == 0, err
    assert "was taken off every reward" in out
    assert "trust_remote_code" not in out


@pytest.mark.parametrize("layout", ["step_model", "nothing", "file"])
def test_errors_are_one_line(command, tmp_path, layout):
    if layout == "step_model":
        foreign_layouts.step_model(tmp_path / "rm")
    elif layout == "file":
        (tmp_path / "rm").write_text("no folder")
    code, out, err = command("export", tmp_path / "rm", "standard")
    assert (code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if line.startswith("rewardsmith export: error:")]
    assert str(tmp_path / "rm") in line
    assert not (tmp_path / "standard").exists()


def test_help_names_every_flag(command, capsys):
    with pytest.raises(SystemExit):
        command("export", "--help")
    text = capsys.readouterr().out
    for flag in ("--dtype", "--drop-bias", "--overwrite", "--no-verify", "--trust-remote-code"):
        assert flag in text


def test_the_record_of_the_training_data_travels_along(command, tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "training_data.json").write_text('{"hashes": []}')
    code, _, err = command("export", model, "copy", "--no-verify")
    assert code == 0, err
    assert (tmp_path / "copy" / "training_data.json").read_text() == '{"hashes": []}'


def test_two_models_become_one_and_less_is_refused(tmp_path, capsys):
    folders = []
    for seed in (1, 2):
        trainer = trainer_for(tmp_path / f"member{seed}", tiny_models.pairs(8), data_seed=seed)
        trainer.save_model()
        folders.append(str(tmp_path / f"member{seed}"))
    assert main(["average", str(tmp_path / "new"), folders[0]]) == 1
    assert "two or more models" in capsys.readouterr().err
    assert main(["average", folders[1], *folders]) == 1
    assert "not empty" in capsys.readouterr().err
    # An ensemble of models is its members.
    write_members(tmp_path, ["member1", "member2"])
    assert main(["average", str(tmp_path / "new"), str(tmp_path)]) == 0
    assert "the mean of 2 models" in capsys.readouterr().out
    contract = read_contract(tmp_path / "new")
    assert contract is not None
    assert contract.objective["averaged"] == ["member1", "member2"]


def test_a_folder_gains_standard_deviations(tmp_path, capsys):
    trainer = trainer_for(tmp_path / "model", tiny_models.pairs(8))
    trainer.save_model()
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in tiny_models.pairs(8)))
    assert main(["laplace", str(tmp_path / "model"), str(data), "--prior-precision", "2"]) == 0
    assert "prior precision 2 (given); 8 comparisons" in capsys.readouterr().out
    [part] = RewardModel.from_pretrained(str(tmp_path / "model")).score("good?", ["bad"], return_parts=True)
    assert part.spread > 0
    assert part.to_dict() == {"spread": part.spread}
    assert main(["laplace", str(tmp_path / "model"), str(data), "--prior-precision", "0"]) == 1
    assert "must be above 0" in capsys.readouterr().err


def test_a_folder_without_a_contract_fails_with_a_line(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 1
    assert "FAIL  contract:" in capsys.readouterr().out
