import pytest

from rewardsmith.audit.invariances import compare_rewards
from rewardsmith.cli.audit_variants import PaddedRows, RenderedText, model_variants
from rewardsmith.data.simulate import GoldScorer
from rewardsmith.records import ScoreRequest, TokenIds

REQUESTS = [ScoreRequest(f"Question {i}?\n", ("good answer", "a much longer bad reply", "no")) for i in range(4)]


@pytest.fixture(scope="module")
def model(tiny_model):
    from rewardsmith.scoring import RewardModel

    return RewardModel.from_pretrained(str(tiny_model))


def test_only_a_local_model_has_other_forms(model, tiny_model):
    assert model_variants(GoldScorer(), "simulator:gold") == {}
    assert len(model_variants(model, str(tiny_model))) == 5


@pytest.mark.parametrize("name", ["separate against shared prefix", "rendered text, tokenised again"])
def test_forms_that_must_agree_do(model, tiny_model, name):
    other = model_variants(model, str(tiny_model))[name]()
    found = compare_rewards(name, model.score_requests(REQUESTS), other.score_requests(REQUESTS), 1.0)
    assert found.largest_change < 1e-5


def test_right_padding_through_another_forward_gives_the_same_rewards(model, tiny_model):
    other = model_variants(model, str(tiny_model))["right padding, Hugging Face's own forward"]()
    assert isinstance(other, PaddedRows)
    found = compare_rewards("right", model.score_requests(REQUESTS), other.score_requests(REQUESTS), 1.0)
    assert found.largest_change < 1e-5


def test_a_lower_precision_changes_rewards_a_little(model, tiny_model):
    other = model_variants(model, str(tiny_model))["bf16 against fp32"]()
    found = compare_rewards("bf16", model.score_requests(REQUESTS), other.score_requests(REQUESTS), 1.0)
    assert 0 < found.largest_change < 0.1


def test_token_ids_pass_as_they_are(model):
    request = ScoreRequest("", (TokenIds((5, 6, 7)), TokenIds((8, 9))))
    found = compare_rewards("ids", model.score_requests([request]), RenderedText(model).score_requests([request]), 1.0)
    assert found.largest_change < 1e-6
