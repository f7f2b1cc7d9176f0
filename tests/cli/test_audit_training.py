import pytest

from rewardsmith.audit import audit
from rewardsmith.cli import audit_training
from rewardsmith.cli.audit_tables import part_tables
from rewardsmith.cli.parsing import CommandParser, parse_strictly
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.simulate import AnnotatorConfig, GoldScorer, SimulationConfig, simulate
from rewardsmith.data.training_record import TrainingRecord
from rewardsmith.evaluation import Resampling, score_groups
from rewardsmith.report import write_report


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with training data: sixty simulated prompts."""
    monkeypatch.chdir(tmp_path)
    with open_groups(tmp_path / "quality.jsonl") as write:
        for group in simulate(SimulationConfig(prompts=60, seed=1, annotators=AnnotatorConfig(temperature=0.1))):
            write(group)
    return tmp_path


def test_an_audit_takes_the_parts_of_the_training_data(folder):
    parser = CommandParser(prog="x")
    audit_training.add_training_options(parser)
    parser.set_defaults(split=None)
    args = parse_strictly(parser, ["--train-data", "quality.jsonl"])
    how = Resampling(200, 0)
    parts = audit_training.load_training_data(args).parts("simulator:gold", how)
    groups = list(simulate(SimulationConfig(prompts=20, seed=1, annotators=AnnotatorConfig(temperature=0.1))))
    found = audit(GoldScorer(), groups, extra=parts)
    plain = found.to_dict()
    # The first twenty prompts of the same seed are the training data's.
    assert plain["contamination"]["shares"]["same prompt"]["value"] == 1.0
    assert plain["shift"]["novelty"][0]["from"] == 0
    assert any(f.level == "red" and "contamination" in f.text for f in found.findings)
    assert [table.title[:20] for table in part_tables(plain)] == ["accuracy by the shar", "contamination by the"]
    write_report([plain], "audit.html")
    assert "Contamination" in (folder / "audit.html").read_text()


def test_without_training_data_the_record_of_the_model_is_read(folder):
    groups = list(simulate(SimulationConfig(prompts=10, seed=1)))
    scored, how = score_groups(GoldScorer(), groups), Resampling(200, 0)
    (folder / "model").mkdir()
    nothing = audit_training.TrainingData([])
    plain = nothing.parts("model", how)["contamination"](scored).to_dict()
    assert "cannot be told" in plain["findings"][0]["text"]
    TrainingRecord.of_groups(groups[:5]).save(folder / "model")
    plain = nothing.parts("model", how)["contamination"](scored).to_dict()
    assert plain["shares"]["same prompt"]["value"] == 0.5
    assert nothing.parts("simulator:gold", how) == {}
