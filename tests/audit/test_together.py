"""What several audited models show together."""

import pytest

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.together import compare_models, judge_together, with_details
from rewardsmith.errors import ConfigError
from rewardsmith.evaluation import Resampling

HOW = Resampling(50)
ROWS = [{"prompt": f"What of {i}?", "chosen": f"It is {i}, that is all.", "rejected": f"No {i}."} for i in range(24)]


def longest(prompt, answers):
    return [float(len(answer)) for answer in answers]


def shortest(prompt, answers):
    return [-float(len(answer)) for answer in answers]


@pytest.fixture(scope="module")
def audits():
    plan = AuditPlan(how=HOW, sample=2, probes=())
    return [audit(scorer, ROWS, plan) for scorer in (longest, shortest)]


def test_the_first_model_is_compared_with_each_other_one(audits):
    [found] = compare_models(audits, HOW)
    assert (found["a"], found["b"]) == ("longest", "shortest")
    assert found["overall"]["difference"]["value"] == 1
    assert found["num_flipped"] == len(ROWS) == len(found["flipped"])


def test_models_together_have_a_matrix_and_a_risk_where_they_are_asked_for(audits):
    assert judge_together(audits, [], HOW, is_ensemble=False) == []
    [found] = judge_together(audits, ["long", "short"], HOW, is_ensemble=True)
    assert set(found["shift"]["matrix"]) == {"long", "short"}
    assert found["risk"] is not None
    with pytest.raises(ConfigError, match="1 names for 2 models"):
        judge_together(audits, ["long"], HOW, is_ensemble=False)
    with pytest.raises(ConfigError, match="two or more models"):
        judge_together(audits[:1], [], HOW, is_ensemble=True)


def test_one_data_set_is_the_audit_itself(audits):
    assert with_details(audits[0], ["data"], HOW) == [audits[0].to_dict()]
