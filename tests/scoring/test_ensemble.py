"""Several models as one: each way of combining by hand, parts, token ids, and what cannot be combined."""

import math
import statistics
from dataclasses import replace
from types import SimpleNamespace

import foreign_layouts
import pytest
import tiny_models
import torch

from rewardsmith import RewardModel
from rewardsmith.errors import ConfigError
from rewardsmith.records import Scorer, ScoreRequest
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.shaping import RewardOptions
from rewardsmith.scoring.ensemble import EnsembleModel, combine_part, combine_rewards, normalised
from rewardsmith.scoring.scorer import RewardParts

PROMPT, ANSWERS = "is maybe", ["good", " the question is maybe awful", "fine nice great poor"]


def save(folder, family, seed):
    model, tokenizer = getattr(tiny_models, family)()
    torch.manual_seed(seed)
    torch.nn.init.normal_((getattr(model, "score", None) or model.classifier).weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return [save(folder / f"seed-{seed}", "qwen2", seed) for seed in range(3)]


@pytest.fixture(scope="module")
def alone(paths):
    """Rewards of each member by itself."""
    return [RewardModel.from_pretrained(path, device="cpu").score(PROMPT, ANSWERS) for path in paths]


@pytest.mark.parametrize("penalty", [1.0, 0.25])
@pytest.mark.parametrize("combine", ["mean", "min", "mean_minus_std", "mean_minus_variance", "soft_min"])
def test_each_way_of_combining_by_hand(paths, alone, combine, penalty):
    by_hand = {
        "mean": statistics.fmean,
        "min": min,
        "mean_minus_std": lambda r: statistics.fmean(r) - penalty * statistics.pstdev(r),
        "mean_minus_variance": lambda r: statistics.fmean(r) - penalty * statistics.pvariance(r),
        "soft_min": lambda r: -penalty * math.log(statistics.fmean(math.exp(-x / penalty) for x in r)),
    }[combine]
    model = RewardModel.from_pretrained(paths, device="cpu", combine=combine, penalty=penalty)
    expected = [by_hand(rewards) for rewards in zip(*alone, strict=True)]
    assert model.score(PROMPT, ANSWERS) == pytest.approx(expected, abs=1e-5)
    request = ScoreRequest(PROMPT, tuple(ANSWERS))
    assert model.score_encoded([model.encode(request)])[0] == pytest.approx(expected, abs=1e-5)
    assert isinstance(model, Scorer)


def test_soft_minimum_runs_from_the_minimum_to_the_mean_and_never_overflows():
    rewards = [-3.0, 1.0, 5.0]
    values = [combine_rewards(rewards, "soft_min", beta) for beta in (1e-6, 0.1, 1.0, 10.0, 1e6)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(min(rewards), abs=1e-4)
    assert values[-1] == pytest.approx(statistics.fmean(rewards), abs=1e-4)
    assert combine_rewards([1e4, -1e4], "soft_min", 1.0) == pytest.approx(-1e4 + math.log(2))
    large = 1e3
    close = statistics.fmean(rewards) - statistics.pvariance(rewards) / (2 * large)
    assert combine_rewards(rewards, "soft_min", large) == pytest.approx(close, abs=1e-5)
    with pytest.raises(ConfigError, match="beta, which must be above 0"):
        combine_rewards(rewards, "soft_min", 0.0)
    # Where exp rounds to 1, too: the limit is the mean, not the minimum.
    assert combine_rewards([0.0, 2.0], "soft_min", 1e18) == pytest.approx(1.0)


def test_parts_hold_members_and_their_spread(paths, alone):
    model = RewardModel.from_pretrained(paths, device="cpu")
    for part, rewards in zip(model.score(PROMPT, ANSWERS, return_parts=True), zip(*alone, strict=True), strict=True):
        assert list(part.members) == pytest.approx(list(rewards), abs=1e-5)
        assert part.spread == pytest.approx(statistics.pstdev(rewards), abs=1e-5)
        assert part.to_dict() == {"spread": part.spread, "members": list(part.members)}
    (single,) = RewardModel.from_pretrained(paths[0], device="cpu").score(PROMPT, ANSWERS[:1], return_parts=True)
    assert math.isnan(single.spread)
    assert single.to_dict() == {}


def test_members_with_other_tokenizers_take_texts_and_refuse_ids(paths, tmp_path):
    other = save(tmp_path / "llama", "llama", 5)
    model = RewardModel.from_pretrained([paths[0], other], device="cpu")
    own = [RewardModel.from_pretrained(path, device="cpu").score(PROMPT, ANSWERS) for path in (paths[0], other)]
    expected = [statistics.fmean(pair) for pair in zip(*own, strict=True)]
    assert model.score(PROMPT, ANSWERS) == pytest.approx(expected, abs=1e-5)
    assert not model.capabilities.scores_ids
    with pytest.raises(ConfigError, match="tokenise differently"):
        model.score_encoded([[[3, 4]]])


def test_normalised_members_are_on_their_own_scales(tmp_path):
    scales = [(0.5, 2.0), (-3.0, 10.0)]
    folders = [
        foreign_layouts.openrlhf(tmp_path / f"rm{i}", mean=mean, std=std)[0] for i, (mean, std) in enumerate(scales)
    ]
    model = RewardModel.from_pretrained(folders, device="cpu")
    raw = model.members[0].score(PROMPT, ANSWERS)
    expected = [statistics.fmean((reward - mean) / std for mean, std in scales) for reward in raw]
    assert model.score(PROMPT, ANSWERS, normalized=True) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("combine", ["mean", "min", "mean_minus_variance", "soft_min"])
def test_a_raw_reward_is_normalised_to_what_the_model_gives_itself(tmp_path, combine):
    folders = [
        foreign_layouts.openrlhf(tmp_path / f"rm{i}", mean=mean, std=std)[0]
        for i, (mean, std) in enumerate([(0.5, 2.0), (-3.0, 10.0)])
    ]
    model = RewardModel.from_pretrained(folders, device="cpu", combine=combine, penalty=0.7)
    [raw] = model.score_parts([ScoreRequest(PROMPT, tuple(ANSWERS))])
    [wanted] = model.score_parts([ScoreRequest(PROMPT, tuple(ANSWERS))], normalized=True)
    for part, other in zip([normalised(model, part) for part in raw], wanted, strict=True):
        assert part.reward == pytest.approx(other.reward, abs=1e-9)
        assert part.members == pytest.approx(other.members, abs=1e-9)
        assert part.spread == pytest.approx(other.spread, abs=1e-9)


@pytest.mark.parametrize("combine", ["mean", "mean_minus_std", "mean_minus_variance", "soft_min"])
@pytest.mark.parametrize("members", [(), (1.0, 4.0)])
def test_the_spread_of_heads_or_of_a_distribution_is_rescaled_before_it_is_combined(combine, members):
    plain = RewardParts(2.5, 1.5, members)
    alone = SimpleNamespace(contract=SimpleNamespace(reward_mean=0.5, reward_std=2.0), combine=combine, penalty=0.7)
    alone.members = (alone,)
    wanted = 1.0 if combine == "mean" else combine_part(plain.rescaled(0.5, 2.0), combine, 0.7)
    found = normalised(alone, replace(plain, reward=combine_part(plain, combine, 0.7)))
    assert (found.reward, found.spread) == (pytest.approx(wanted), 0.75)


def test_what_is_no_ensemble_is_refused(paths, tmp_path):
    member = RewardModel.from_pretrained(paths[0], device="cpu")
    with pytest.raises(ConfigError, match="two or more"):
        EnsembleModel([member])
    with pytest.raises(ConfigError, match="combine 'median' is not known; give one of mean, min"):
        EnsembleModel([member, member], "median")
    comparer = RewardModel.from_pretrained(foreign_layouts.pair_rm(tmp_path / "pair")[0], device="cpu")
    with pytest.raises(ConfigError, match="no member of an ensemble"):
        EnsembleModel([member, comparer])
    with pytest.raises(ConfigError, match="gives one reward and no spread"):
        RewardModel.from_pretrained(paths[0], device="cpu", combine="min")
    with pytest.raises(ConfigError, match="gives one reward and no spread"):
        reward_function(RewardModel.from_pretrained(paths[0], device="cpu"), options=RewardOptions(uncertainty=1.0))


def test_members_that_tokenise_alike_see_one_text_cut_to_what_all_of_them_read(paths, tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.config.max_position_embeddings = 64
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ensemble = RewardModel.from_pretrained([paths[0], str(tmp_path)], device="cpu")
    assert ensemble.max_length == 64
    long = " ".join(["maybe good is question"] * 200)
    request = ScoreRequest(long, ("fine",))
    (cut,) = ensemble.fit(request, "truncate_prompt").sequences
    assert len(cut) <= 64
    (parts,) = ensemble.score(long, ["fine"], truncation="truncate_prompt", return_parts=True)
    expected = [member.score_encoded([[cut]])[0][0] for member in ensemble.members]
    assert parts.members == pytest.approx(expected, abs=1e-5)
