"""`rewardsmith laplace`."""

import json

import tiny_models
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.cli.main import main


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
