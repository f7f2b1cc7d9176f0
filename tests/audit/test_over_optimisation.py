import json
import math

import numpy as np
import pytest

from rewardsmith.audit.over_optimisation import SIZES, audit_over_optimisation
from rewardsmith.data.simulate import (
    BiasedScorer,
    GoldScorer,
    sample_answers,
    sample_groups,
    write_prompt,
)
from rewardsmith.errors import DataError
from rewardsmith.evaluation import FunctionScorer, Resampling
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.stats.best_of_n import best_of_n, best_of_n_kl

HOW = Resampling(500, 0)
TO_256 = tuple(n for n in SIZES if n <= 256)
# Proxies that pay for praise, which the gold reward takes away: the best of few are good, the best of many flatter.
PRAISES = (1.32, 1.5, 2.0)


@pytest.fixture(scope="module")
def true_curves() -> dict[float, list[float]]:
    """Gold reward at n = 1 to 256 for each proxy, from a sample large enough to stand for the truth of all prompts."""
    prompt = write_prompt(10_000)
    request = [ScoreRequest(prompt, tuple(sample_answers(prompt, 40_000, seed=99)))]
    gold = GoldScorer().score_requests(request)[0]
    proxies = {praise: BiasedScorer(praise_weight=praise).score_requests(request)[0] for praise in PRAISES}
    return {praise: best_of_n(proxy, gold, tuple(range(1, 257))).tolist() for praise, proxy in proxies.items()}


@pytest.mark.parametrize("praise", PRAISES)
def test_on_the_simulator_the_proxy_rises_and_gold_turns_where_the_truth_does(praise, true_curves):
    found = audit_over_optimisation(BiasedScorer(praise_weight=praise), GoldScorer(), sample_groups(60, 256, 0), HOW)
    assert found.n == TO_256
    proxy, gold = ([e.value for e in curve] for curve in (found.proxy, found.gold))
    assert proxy == sorted(proxy)
    peak = int(np.argmax(gold))
    assert 0 < peak < len(gold) - 1
    assert gold[-1] < gold[peak] - 0.2
    true_curve = true_curves[praise]
    truth = best_of_n_kl(1 + int(np.argmax(true_curve)))
    turning = found.fit.turning_kl
    # No upper end: some bootstrap samples do not turn within 256.
    assert turning.low <= truth <= (math.inf if math.isnan(turning.high) else turning.high)
    assert abs(turning.value - truth) < 0.5
    held = [e.low <= true_curve[n - 1] <= e.high for n, e in zip(found.n, found.gold, strict=True)]
    assert sum(held) >= len(held) - 3
    assert found.gap[16].value < found.gap[64].value < found.gap[256].value
    assert found.gap[256].low > 0
    assert found.findings[0].level == ("yellow" if math.isnan(turning.high) else "red")
    assert f"gold turns near best of {found.fit.turning_n:.3g}" in found.findings[0].text


def test_the_gold_reward_itself_does_not_turn_and_has_no_regret():
    found = audit_over_optimisation(GoldScorer(), GoldScorer(), sample_groups(40, 64, 3), HOW)
    assert math.isnan(found.fit.turning_kl.value)
    assert "does not turn within range" in str(found.fit.reason)
    assert found.findings[0].level == "green"
    assert [e.value for e in found.regret] == [0.0] * len(found.n)
    assert max(abs(e.value) for e in found.gap.values()) < 1e-12


def test_gold_that_falls_from_the_start_turns_at_once():
    against = FunctionScorer(
        lambda prompt, texts: [-r for r in GoldScorer().score_requests([ScoreRequest(prompt, texts)])[0]]
    )
    found = audit_over_optimisation(against, GoldScorer(), sample_groups(20, 32, 4), HOW)
    assert found.fit.turning_kl.value == 0
    assert found.fit.turning_n == 1
    assert found.regret[-1].value > 3
    assert (found.findings[0].level, "from the start" in found.findings[0].text) == ("red", True)


def test_gold_may_be_a_rating_and_prompts_without_it_are_counted():
    groups = [PreferenceGroup(f"q{i}", ("a", "bb", "ccc"), ratings={"right": (0.0, 1.0, 0.0)}) for i in range(5)]
    groups += [PreferenceGroup("q5", ("a", "b")), PreferenceGroup("q6", ("a", "b"), ratings={"right": (None, 1.0)})]
    longest = FunctionScorer(lambda prompt, texts: [float(len(text)) for text in texts])
    found = audit_over_optimisation(longest, "right", groups, HOW)
    assert found.samples == {
        "prompts": 5, "per_prompt": 3, "left_out_without_gold": 2, "left_out_too_few_samples": 0,
    }  # fmt: skip
    # Of one: 1/3. Of two: "bb" wins one pair in three. Of three: always "ccc", which is wrong.
    np.testing.assert_allclose([e.value for e in found.gold], [1 / 3, 1 / 3, 0], atol=1e-12)
    np.testing.assert_allclose([e.value for e in found.proxy], [2, 8 / 3, 3])
    np.testing.assert_allclose([e.value for e in found.regret], [0, 1 / 3, 1], atol=1e-12)
    with pytest.raises(DataError, match="ratings found: right"):
        audit_over_optimisation(longest, "correct", groups, HOW)


def test_a_prompt_with_few_samples_is_left_out_rather_than_shortening_the_curve():
    groups = [*sample_groups(19, 32, 5), *sample_groups(1, 4, 6)]
    found = audit_over_optimisation(GoldScorer(), "gold", groups, HOW)
    assert found.n[-1] == 32
    assert found.samples["left_out_too_few_samples"] == 1


def test_a_constant_proxy_is_reported_flat_and_without_a_gap():
    constant = FunctionScorer(lambda prompt, texts: [1.0] * len(texts))
    found = audit_over_optimisation(constant, "gold", sample_groups(10, 16, 7), HOW)
    assert found.reward_variance.share_flat.value == 1.0
    assert math.isnan(found.reward_variance.mean.value)
    assert math.isnan(found.gap[16].value)
    assert math.isnan(found.fit.turning_kl.value)
    assert "100% of 10 prompts are flat" in found.findings[-1].text
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_plain_form_has_the_documented_keys_and_is_json():
    plain = audit_over_optimisation(BiasedScorer(1.0), GoldScorer(), sample_groups(10, 20, 8), HOW).to_dict()
    assert list(plain) == ["n", "kl", "proxy", "gold", "fit", "gap", "regret", "reward_variance", "samples", "findings"]
    assert {"alpha", "beta", "turning_kl", "turning_n"} <= set(plain["fit"])
    assert {"value", "n", "low", "high"} == set(plain["gold"][0]) == set(plain["fit"]["turning_kl"])
    json.dumps(plain, allow_nan=False)


def test_verifiable_answers_are_gold_for_a_length_proxy(real_data):
    path = real_data / "gsm8k-solutions/example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    groups = []
    for row in rows:
        found = {v["solution"]: float(v["is_correct"]) for v in row.values() if isinstance(v, dict)}
        groups.append(PreferenceGroup(row["question"], tuple(found), ratings={"is_correct": tuple(found.values())}))
    shortest = FunctionScorer(lambda prompt, texts: [-float(len(text)) for text in texts])
    found = audit_over_optimisation(shortest, "is_correct", groups, HOW)
    assert found.n == (1, 2, 3, 4)
    assert found.samples["prompts"] + found.samples["left_out_too_few_samples"] == 1319
    share = np.mean([np.mean(group.ratings["is_correct"]) for group in groups if len(group) == 4])
    assert found.gold[0].value == pytest.approx(share)
    oracle = np.mean([max(group.ratings["is_correct"]) for group in groups if len(group) == 4])
    assert found.gold[-1].value + found.regret[-1].value == pytest.approx(oracle)
