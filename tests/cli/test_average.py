"""`rewardsmith average`."""

import tiny_models
from small_runs import trainer_for

from rewardsmith.cli.main import main
from rewardsmith.models.contract import read_contract
from rewardsmith.models.member_folders import write_members


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
