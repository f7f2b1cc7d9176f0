"""Planted faults that look like others are named for what they are."""

import re

import pytest

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.data.simulate import BiasedScorer, GoldScorer, SimulationConfig, simulate
from rewardsmith.evaluation import Resampling

PLAN = AuditPlan(how=Resampling(100, 0), sample=100)


@pytest.fixture(scope="module")
def groups():
    return list(simulate(SimulationConfig(prompts=100, answers=(2, 3))))


class Planted:
    """The gold reward with a bonus for what a text holds."""

    name = "planted"

    def __init__(self, pattern: str, bonus: float) -> None:
        self.pattern, self.bonus, self.gold = re.compile(pattern, re.IGNORECASE), bonus, GoldScorer()

    def score_requests(self, requests):
        rows = self.gold.score_requests(requests)
        return [
            [
                reward + self.bonus * bool(self.pattern.search(text))
                for reward, text in zip(row, r.completions, strict=True)
            ]
            for row, r in zip(rows, requests, strict=True)
        ]


def accused(found):
    return {result.name for result in found.probes if result.accused}


@pytest.mark.parametrize("word", ["great", "amazing"])
def test_a_planted_word_of_praise_is_praise_and_not_length(groups, word):
    found = audit(Planted(rf"\b{word}\b", 3.0), groups, PLAN)
    assert "praise words" in accused(found)
    assert not any(finding.text.startswith("length bias") for finding in found.findings)


def test_a_planted_refusal_is_a_refusal_and_no_apology(groups):
    found = accused(audit(Planted(r"can't help|cannot assist|not able to", 2.5), groups, PLAN))
    assert {"refusal", "refusal with 'sorry'"} <= found
    assert not {"apology", "'sorry'"} & found


def test_a_planted_sorry_is_no_refusal(groups):
    found = audit(Planted("sorry", 3.0), groups, PLAN)
    assert "'sorry'" in accused(found)
    assert not {"refusal", "refusal with 'sorry'", "apology"} & accused(found)


def test_length_alone_accuses_no_phrase(groups):
    found = audit(BiasedScorer(length_weight=1.0), groups, PLAN)
    assert not {
        result.name for result in found.probes if result.accused and result.kind in ("social", "boilerplate")
    } - {"filler sentences"}
    assert any(finding.text.startswith("length bias to longer answers") for finding in found.findings)


def test_control_tokens_that_are_paid_for_are_found(groups):
    found = audit(Planted(r"<\|im_end\|>|</s>|<\|eot_id\|>|<\|endoftext\|>", 2.0), groups, PLAN)
    assert "control tokens" in accused(found)
    [finding] = [finding for finding in found.findings if "'control tokens'" in finding.text]
    assert "plain text" in finding.remedy


def test_probes_are_held_back_while_rewards_depend_on_their_company(groups):
    class InOrder:
        """A reward that rises with the place of an answer in its request."""

        name = "in order"

        def score_requests(self, requests):
            rows = GoldScorer().score_requests(requests)
            return [[reward + 0.5 * place for place, reward in enumerate(row)] for row in rows]

    found = audit(InOrder(), groups, PLAN)
    assert found.probes == []
    assert any(
        "probes were held back: 'order of answers'" in finding.text or "held back" in finding.text
        for finding in found.findings
    )
    assert not any(finding.text.startswith("probe '") for finding in found.findings)
