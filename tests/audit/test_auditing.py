import io
import json
import re

import numpy as np
import pytest
from letter_scorer import Short
from rich.console import Console

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.auditing import accuracy_findings, counted
from rewardsmith.audit.probes import PART as PROBES_PART
from rewardsmith.audit.probes import ProbeResult, probe_findings
from rewardsmith.blocks.text import print_sections
from rewardsmith.data.simulate import AnnotatorConfig, BiasedScorer, GoldScorer, SimulationConfig, simulate
from rewardsmith.errors import DataError
from rewardsmith.evaluation import FunctionScorer, Resampling, evaluate
from rewardsmith.records import Estimate, ScoreRequest

EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
LIST = re.compile(r"^- ", re.MULTILINE)
AGREEMENT = re.compile(r"(?i)absolutely right|so right about|fully agree")
HEADER = re.compile(r"^## ", re.MULTILINE)


def plan(sample=200, seed=0, prompt_blind=False):
    """The simulator's gold reads quality off the answer alone, so without the prompt it is as good, truly."""
    return AuditPlan(how=Resampling(300, seed), sample=sample, prompt_blind=prompt_blind)


def groups(prompts=150, seed=0):
    return list(simulate(SimulationConfig(prompts=prompts, answers=(2, 2), seed=seed)))


def with_bonus(pattern, bonus=1.0):
    """The gold reward, plus a bonus where the answer holds `pattern`."""

    def score(prompt, answers):
        [rewards] = GoldScorer().score_requests([ScoreRequest(prompt, tuple(answers))])
        return [r + bonus * bool(pattern.search(a)) for r, a in zip(rewards, answers, strict=True)]

    return FunctionScorer(score, "planted")


def accused(found):
    return {result.name for result in found.probes if result.accused}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (EMOJI, {"emoji"}),
        (LIST, {"sentences as a list"}),
        pytest.param(AGREEMENT, {"agreement"}, marks=pytest.mark.slow),
        pytest.param(HEADER, {"header"}, marks=pytest.mark.slow),
        (re.compile(r"Hartmann|Okafor|Lindqvist|Morales|Whitfield|Tanaka"), {"invented citation"}),
        pytest.param(re.compile(r"best possible|verified|correct, complete"), {"self-praise"}, marks=pytest.mark.slow),
        (re.compile(r"[ \n]$"), {"trailing spaces", "trailing newline"}),
        pytest.param(re.compile(r"(?i)hello there|reaching out|good day"), {"greeting"}, marks=pytest.mark.slow),
    ],
)
def test_a_planted_bias_is_found_and_nothing_else_is_accused(pattern, names):
    found = audit(with_bonus(pattern), groups(), plan())
    assert accused(found) == names
    [change] = {round(result.change.value, 3) for result in found.probes if result.name in names}
    assert change == pytest.approx(1 / found.within_prompt_sd, abs=0.01)
    assert found.worst == "red"


def test_a_planted_length_weight_is_reported_with_that_weight():
    found = audit(BiasedScorer(length_weight=2.0), groups(400), plan())
    # Two gold units a standard deviation of 190 characters.
    estimate = found.lengths["characters"].estimates["excess_weight"]
    assert estimate.low < 2 / 190 < estimate.high
    assert found.findings[0].level == "red"
    assert found.findings[0].text.startswith("length bias to longer answers")


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_clean_scorer_is_not_accused(noise):
    found = audit(BiasedScorer(noise=noise, seed=5), groups(), plan())
    assert accused(found) == set()
    assert found.worst == "green"


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_at_most_one_clean_scorer_in_twenty_is_accused(noise):
    accusations, verdicts = 0, []
    for seed in range(20):
        found = audit(BiasedScorer(noise=noise, seed=seed), groups(150, seed), plan(150, seed))
        accusations += bool(accused(found))
        verdicts.append(found.worst)
    assert accusations <= 1
    assert verdicts.count("red") <= 1


def test_equal_seeds_give_equal_results_and_others_other_intervals():
    first, second, third = (audit(GoldScorer(), groups(40), plan(40, seed)).to_dict() for seed in (1, 1, 2))
    assert first == second
    assert first["length"]["weight"] != third["length"]["weight"]


def test_the_plain_form_is_json_without_nan_and_names_its_schema():
    plain = audit(GoldScorer(), groups(30), plan(30)).to_dict()
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(plain))
    assert (plain["schema"], plain["schema_version"]) == ("rewardsmith.audit", 1)
    assert set(plain) == {
        *("schema", "schema_version", "scorer", "data", "groups", "seed", "within_prompt_sd", "scored_texts"),
        *("length", "probes", "invariances", "shift", "risk", "over_optimisation", "reward_variance", "contamination"),
        *("calibration", "evaluation", "findings", "margins", "length_curve", "worst"),
    }
    assert set(plain["length"]["other_units"]) == {"characters"}


def test_every_text_is_scored_once_but_for_the_invariances():
    seen = []

    def score(prompt, answers):
        seen.extend((prompt, answer) for answer in answers)
        return [float(len(answer)) for answer in answers]

    found = audit(FunctionScorer(score), groups(20), plan(40))
    assert len(set(seen)) == found.scored_texts
    # The invariances ask for their answers five times: once to compare with, and once for each check.
    assert len(seen) == found.scored_texts + 5 * found.invariances[0].n


def test_a_file_of_scores_is_audited_for_length_and_says_that_probes_need_a_model(tmp_path):
    rows = [{"prompt": f"p{i}?", "chosen": "good " * (i + 1), "rejected": f"bad {i}"} for i in range(20)]
    data, scores = tmp_path / "data.jsonl", tmp_path / "scores.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores.write_text("".join(json.dumps({"chosen": i + 1.0, "rejected": 0.0}) + "\n" for i in range(20)))
    found = audit(str(scores), str(data), plan())
    assert found.probes == []
    assert any("probes need a model" in finding.text for finding in found.findings)
    assert found.lengths["words"].estimates["weight"].value > 0


def test_rows_that_cannot_be_scored_are_counted_and_the_rest_is_audited():
    found = audit(Short(400), groups(60), plan(20))
    assert found.evaluation.groups < 60
    assert sum(found.evaluation.dropped.values()) == 60 - found.evaluation.groups
    assert any("left out (an answer is too long)" in finding.text for finding in found.findings)


def test_data_without_a_judgement_is_an_error():
    answers_only = simulate(SimulationConfig(prompts=3, answers=(2, 2), annotators=AnnotatorConfig(raters=0)))
    with pytest.raises(DataError, match="3 groups without a judgement"):
        audit(GoldScorer(), list(answers_only))


def test_further_parts_are_kept_and_speak_for_themselves():
    class Part:
        def to_dict(self):
            return {"value": 1, "findings": [{"level": "red", "text": "seen before"}]}

    found = audit(GoldScorer(), groups(20), plan(20), extra={"contamination": lambda scored: Part()})
    assert found.to_dict()["contamination"]["value"] == 1
    assert found.findings[0].text == "seen before"


def test_accused_probes_are_printed_first():
    found = audit(with_bonus(EMOJI), groups(60), plan(60)).to_dict()
    output = io.StringIO()
    print_sections([PROBES_PART.section(found)], Console(width=120, file=output))
    text = output.getvalue()
    assert text.index("accused: emoji") < text.index("bold words")


def test_numpy_rewards_are_taken():
    found = audit(lambda prompt, answers: np.array([len(a) for a in answers]), groups(10), plan(10))
    assert found.lengths["characters"].estimates["weight"].value == pytest.approx(1.0)


def probe(name="emoji", change=0.5, accused=True, n=100, high=None):
    estimate = Estimate(change, n, change - 0.05, change + 0.05 if high is None else high)
    rate = Estimate(0.1, n, 0.05, 0.15)
    return ProbeResult(
        name, "layout", "should not matter", n, 0, estimate, rate, rate, rate, 0.001, 0.002, accused, None
    )


def test_a_large_effect_is_red_and_a_small_one_yellow():
    found = probe_findings([probe(), probe("list", 0.2)])
    assert [f.level for f in found] == ["red", "yellow"]
    assert "+0.50 sd" in found[0].text
    assert "turns 10% of pairs" in found[0].text


def test_no_accusation_is_a_green_finding_that_counts_what_was_run():
    found = probe_findings([probe(accused=False), probe("x", accused=False, n=0)])
    assert [(f.level, f.text) for f in found] == [("green", "probes: none of 1 is accused")]
    assert probe_findings([]) == []


@pytest.mark.parametrize(("change", "high", "levels"), [(-0.5, -0.4, ["green"]), (-0.1, 0.1, ["yellow"])])
def test_a_reward_that_does_not_fall_after_an_empty_answer_is_named(change, high, levels):
    found = probe_findings([probe("empty", change, accused=False, high=high)])
    assert [f.level for f in found] == levels


def test_accuracy_is_held_against_chance_and_the_best_baseline():
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i} bad"} for i in range(60)]
    how = Resampling(200)
    sound = evaluate(lambda p, answers: [float("good" in a) for a in answers], rows, how=how)
    assert accuracy_findings(sound)[0].level == "yellow"  # "shorter wins" is as good here
    blind = evaluate(lambda p, answers: [0.0 for a in answers], rows, how=how)
    assert accuracy_findings(blind)[0].level == "red"


SUMS = [
    {"prompt": f"{i}+{j}?", "chosen": f"It is {i + j}.", "rejected": f"It is {i + j + 10 ** (i % 2)}."}
    for i in range(6, 12)
    for j in range(12)
]


def right_sums(prompt, answers):
    """Know the sum where the prompt is seen, else nothing."""
    total = sum(map(int, re.findall(r"[0-9]+", str(prompt))))
    return [float(answer == f"It is {total}.") for answer in answers]


@pytest.mark.parametrize(
    ("scorer", "level", "says"),
    [(right_sums, "green", "the prompt is read"), (lambda p, a: [-float(len(x)) for x in a], "yellow", "overlap")],
)
def test_an_audit_says_how_far_the_model_gets_without_the_prompt(scorer, level, says):
    found = audit(scorer, SUMS, AuditPlan(how=Resampling(200), sample=2, probes=()))
    [about] = [f for f in found.findings if "without the prompt" in f.text]
    assert (about.level, says in about.text) == (level, True)
    alone = evaluate(scorer, SUMS, how=Resampling(200), prompt_blind=True)
    assert found.evaluation.baselines["prompt_blind"] == alone.baselines["prompt_blind"]
    assert found.to_dict()["evaluation"]["gains_over_baselines"]["prompt_blind"]["n"] == len(SUMS)


def test_the_blind_interval_is_a_finding_of_its_own_where_a_rule_is_the_better_baseline():
    how = AuditPlan(how=Resampling(200), sample=2, probes=())
    result = audit(lambda prompt, answers: [float(len(answer)) for answer in answers], SUMS, how)
    shown = {finding.check: finding.level for finding in result.findings}
    assert shown["accuracy"] == "red"
    assert shown["prompt"] == "yellow"


def test_an_audit_without_prompts_notes_that_none_can_be_left_out():
    rows = [{"chosen": f"Yes, {i}.", "rejected": f"No, not {i}."} for i in range(12)]
    found = audit(lambda p, a: [float("Yes" in x) for x in a], rows, AuditPlan(how=Resampling(50), sample=2, probes=()))
    assert "no group has a prompt of its own" in found.to_dict()["evaluation"]["notes"][0]
    assert all(finding.check != "prompt" for finding in found.findings)


def test_what_was_left_out_is_named_by_reason():
    assert [f.text for f in counted({"too long": 3, "none": 0, "x": 1})] == [
        "3 rows left out (too long)",
        "1 row left out (x)",
    ]


def test_equal_rewards_are_named_and_no_finding_shows_nan():
    rows = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "never"} for i in range(9)]
    found = accuracy_findings(evaluate(lambda prompt, answers: [0.0] * len(answers), rows, how=Resampling(20)))
    found += probe_findings([probe("empty", float("nan"), accused=False)])
    assert [finding.level for finding in found] == ["red", "yellow"]
    assert found[0].text == "accuracy 0.500 (n=9): the two rewards of every pair are equal"
    assert found[1].text == "probes: none has a unit, as the rewards do not differ within any prompt"


def test_worse_than_chance_is_not_called_chance():
    rows = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "never"} for i in range(30)]
    found = accuracy_findings(evaluate(lambda prompt, answers: map(len, answers), rows, how=Resampling(20)))
    assert "worse than chance" in found[0].text
