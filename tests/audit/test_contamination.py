import json
import math

import pytest

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.contamination import RUNS, UnknownTrainingData, audit_contamination
from rewardsmith.audit.sampled_answers import Reading, load_data
from rewardsmith.data import training_record
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.simulate import AnnotatorConfig, GoldScorer, SimulationConfig, simulate
from rewardsmith.data.training_record import TrainingRecord
from rewardsmith.evaluation import Resampling, ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.report import write_report

HOW = Resampling(500, 0)
RUN = " ".join(f"word{i}" for i in range(13))


def pair(prompt, better="yes", worse="no", subset=None) -> PreferenceGroup:
    metadata = {} if subset is None else {"subset": subset}
    return PreferenceGroup(prompt, (better, worse), (Comparison(0, 1),), metadata=metadata)


def question(number) -> str:
    return f"what do you think about matter {number}, and why is matter {number} so?"


@pytest.fixture
def planted():
    """Forty groups: the first eight were trained on and are always right, of the others three in four are."""
    train = [pair(question(i), f"yes {i}", f"no {i}") for i in range(8)] + [
        pair(f"other {i}", RUN, "x") for i in (1, 2)
    ]
    groups = [pair(question(i), f"yes {i}", f"no {i}", "old" if i < 20 else "new") for i in range(40)]
    right = [i < 8 or i % 4 > 0 for i in range(40)]
    scored = [ScoredGroup(g, (1.0, 0.0) if ok else (0.0, 1.0)) for g, ok in zip(groups, right, strict=True)]
    return train, scored


@pytest.mark.parametrize("as_record", [False, True], ids=["data", "record"])
def test_planted_groups_are_found_and_accuracy_is_given_with_and_without_them(planted, as_record):
    train, scored = planted
    found = audit_contamination(scored, TrainingRecord.of_groups(train) if as_record else train, HOW, near=0)
    assert found.shares["same prompt"].value == pytest.approx(8 / 40)
    assert found.shares["any"].value == pytest.approx(8 / 40)
    assert found.accuracy["seen"].value == 1.0
    assert found.accuracy["clean"].value == pytest.approx(24 / 32)
    assert found.accuracy["seen_minus_clean"].value == pytest.approx(0.25)
    assert found.accuracy["seen_minus_clean"].low > 0
    assert {name: row["share"].value for name, row in found.subsets.items()} == {"old": 0.4, "new": 0.0}
    assert (found.training_groups, found.groups, found.not_told) == (10, 40, 0)
    assert found.findings[0].level == "red"
    assert "8 of 40 groups share something" in found.findings[0].text
    assert "8 of them the whole prompt" in found.findings[0].text
    json.dumps(found.to_dict(), allow_nan=False)


def test_training_data_also_tell_of_pairs_and_near_prompts_and_give_examples(planted):
    train, scored = planted
    found = audit_contamination(scored, train, HOW, near=0.4)
    assert found.shares["same pair"].value == pytest.approx(8 / 40)
    # All of these questions are nearly the same.
    assert found.shares["near prompt"].value == 1.0
    assert found.examples[0]["kind"] == "same pair"
    assert found.examples[0]["shared"].startswith("what do you think")


@pytest.mark.parametrize("as_record", [False, True], ids=["data", "record"])
def test_a_run_of_thirteen_words_of_a_prompt_in_a_training_answer_is_found(planted, as_record):
    train, scored = planted
    more = [*scored, ScoredGroup(pair(f"Please explain: {RUN}."), (1.0, 0.0))]
    found = audit_contamination(more, TrainingRecord.of_groups(train) if as_record else train, HOW, near=0)
    assert found.shares["any"].value == pytest.approx(9 / 41)
    if as_record:
        # Of the 3 runs of the new prompt ("please explain word0 ..." has 15 words) one; "question" has 13 words.
        assert found.shares[RUNS].value == pytest.approx((8 + 1) / (40 + 3))
    else:
        assert found.shares["n-gram"].value == pytest.approx(9 / 41)


def test_runs_of_words_alone_ask_for_a_look_only(planted):
    train, _ = planted
    groups = [pair(f"Please explain: {RUN}, number {i}.") for i in range(4)]
    scored = [ScoredGroup(group, (1.0, 0.0)) for group in groups]
    assert audit_contamination(scored, train, HOW, near=0).findings[0].level == "yellow"


def test_clean_data_are_green_and_undefined_accuracies_are_nan(planted):
    _, scored = planted
    found = audit_contamination(scored, [pair("something else")], HOW)
    assert found.findings[0].level == "green"
    assert math.isnan(found.accuracy["seen"].value)
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_a_sampled_record_cannot_tell_is_counted_and_biases_no_share(monkeypatch):
    monkeypatch.setattr(training_record, "MAX_PROMPTS", 300)
    train = [pair(question(i)) for i in range(2000)]
    scored = [ScoredGroup(pair(question(i)), (1.0, 0.0)) for i in range(1000, 3000)]
    found = audit_contamination(scored, TrainingRecord.of_groups(train), HOW)
    assert found.record_shares["prompts"] == pytest.approx(0.15, rel=0.3)
    assert found.not_told == 2000 - found.shares["same prompt"].n
    assert found.shares["same prompt"].low <= 0.5 <= found.shares["same prompt"].high


def test_unknown_training_data_ask_for_a_look():
    plain = UnknownTrainingData("the folder has no record").to_dict()
    assert plain["findings"][0]["level"] == "yellow"
    assert "--train-data" in plain["findings"][0]["text"]


FEW = Resampling(200, 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with training data: sixty simulated prompts."""
    monkeypatch.chdir(tmp_path)
    with open_groups(tmp_path / "quality.jsonl") as write:
        for group in simulate(SimulationConfig(prompts=60, seed=1, annotators=AnnotatorConfig(temperature=0.1))):
            write(group)
    return tmp_path


def test_an_audit_takes_the_parts_of_the_training_data(folder):
    training = load_data(["quality.jsonl"], Reading()).groups
    groups = list(simulate(SimulationConfig(prompts=20, seed=1, annotators=AnnotatorConfig(temperature=0.1))))
    found = audit(GoldScorer(), groups, AuditPlan(how=FEW, sample=10, training=training))
    plain = found.to_dict()
    # The first twenty prompts of the same seed are the training data's.
    assert plain["contamination"]["shares"]["same prompt"]["value"] == 1.0
    assert plain["shift"]["novelty"][0]["from"] == 0
    assert any(f.level == "red" and "contamination" in f.text for f in found.findings)
    write_report([plain], "audit.html")
    assert "Contamination" in (folder / "audit.html").read_text()


def test_without_training_data_the_record_of_the_model_is_read(folder):
    groups = list(simulate(SimulationConfig(prompts=10, seed=1)))
    plan = AuditPlan(how=FEW, sample=4, folder="model")
    (folder / "model").mkdir()
    plain = audit(GoldScorer(), groups, plan).to_dict()["contamination"]
    assert "cannot be told" in plain["findings"][0]["text"]
    TrainingRecord.of_groups(groups[:5]).save(folder / "model")
    plain = audit(GoldScorer(), groups, plan).to_dict()["contamination"]
    assert plain["shares"]["same prompt"]["value"] == 0.5
    nothing = AuditPlan(how=FEW, sample=4, folder="simulator:gold")
    assert audit(GoldScorer(), groups, nothing).to_dict()["contamination"] is None
