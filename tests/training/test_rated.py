"""Ratings in a run: which are learned, how they are masked, and that no arrangement of the rows changes the loss."""

import copy
import math
import random

import pytest
import tiny_models
import torch
from datasets import Dataset

from rewardsmith import RewardConfig, RewardModel, RewardTrainer
from rewardsmith.errors import CheckpointError, ConfigError, DataError
from rewardsmith.models.attribute_head import Attribute, install_attributes
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training.collator import PreferenceCollator
from rewardsmith.training.encoding import Encoder, encode_dataset
from rewardsmith.training.loss import StepLoss, combine
from rewardsmith.training.rated import rating_names, rating_rows, take_attributes

NAMES = ["helpfulness", "verbosity"]


def rated_groups(count, seed=0, compares=False):
    rng = random.Random(seed)
    groups = []
    for number in range(count):
        answers = tuple(f" {' '.join(rng.choices(tiny_models.WORDS, k=4))} {place}" for place in range(3))
        helpfulness = tuple(float(answer.count("good") + rng.random()) for answer in answers)
        verbosity = tuple(None if rng.random() < 0.3 else float(len(answer)) for answer in answers)
        edges = (Comparison(0, 1), Comparison(0, 2)) if compares else ()
        ratings = {"helpfulness": helpfulness, "verbosity": verbosity}
        groups.append(PreferenceGroup(f"question {number}", answers, edges, ratings))
    return groups


def settings(tmp_path, **changes):
    return RewardConfig(
        str(tmp_path / "run"),
        **{"use_cpu": True, "report_to": "none", "loss_type": "regression", "max_steps": 2, "learning_rate": 1e-2}
        | {"save_strategy": "no", "verify_saved_model": False, "disable_tqdm": True, "bf16": False}
        | changes,
    )


def trained(tmp_path, groups, **changes):
    model, tokenizer = tiny_models.qwen2()
    args = settings(tmp_path, **changes)
    trainer = RewardTrainer(model, args, train_dataset=groups, processing_class=tokenizer)
    trainer.train()
    return trainer


@pytest.mark.parametrize("way", ["packed", "forked"])
@pytest.mark.parametrize("loss_type", ["regression", "bradley_terry"])
def test_a_shared_prefix_gives_the_loss_and_gradient_of_separate_rows_in_float64(tmp_path, way, loss_type):
    attributes = [Attribute("helpfulness", 0.7), Attribute("verbosity", -0.2, mean=20.0, std=4.0)]
    model, tokenizer = tiny_models.qwen2() if way == "packed" else tiny_models.hybrid()
    torch.manual_seed(0)
    install_attributes(model, attributes)
    model = model.double()
    coefficient = 0.0 if loss_type == "regression" else 0.5
    args = settings(tmp_path, loss_type=loss_type, rating_loss_coefficient=coefficient)
    encoder = Encoder(Renderer(tokenizer), attributes=tuple(NAMES))
    encoded, _ = encode_dataset(rated_groups(4, compares=True), encoder, "train")
    step, found = StepLoss(args, attributes=attributes), []
    for share in (True, False):
        one = copy.deepcopy(model)
        plan = prepare_model(one, share)
        assert plan.way == (way if share else "rows")
        batch = PreferenceCollator(plan)(list(encoded))
        output = one(reward_batch=batch["batch"])
        loss = combine(step.terms_of_output(output, batch["comparisons"], None, batch["ratings"]))
        loss.backward()
        found.append((loss.item(), [p.grad for p in one.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-7)
    # The norms of these families are fp32 whatever the weights are.
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_accumulation_changes_nothing_where_ratings_are_missing_unevenly(tmp_path):
    groups = rated_groups(4, seed=3)
    how = {"max_steps": 1, "learning_rate": 0.1, "optim": "sgd", "max_grad_norm": 0.0}
    whole = trained(tmp_path / "a", groups, per_device_train_batch_size=4, **how)
    parts = trained(tmp_path / "b", groups, per_device_train_batch_size=1, gradient_accumulation_steps=4, **how)
    torch.testing.assert_close(whole.model.score.weight, parts.model.score.weight, rtol=1e-4, atol=1e-6)
    losses = [trainer.state.log_history[-1]["train_loss"] for trainer in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_trained_folder_gives_ratings_by_name_and_their_weighted_sum(tmp_path):
    trainer = trained(
        tmp_path,
        rated_groups(6),
        attribute_weights=["helpfulness=1", "verbosity=-0.1"],
        rating_scale="standardized",
    )
    trainer.save_model(str(tmp_path / "saved"))
    [part] = RewardModel.from_pretrained(str(tmp_path / "saved")).score("question 1", [" good"], return_parts=True)
    assert list(part.attributes) == NAMES
    assert part.reward == pytest.approx(part.attributes["helpfulness"] - 0.1 * part.attributes["verbosity"])
    assert trainer.args.attributes == NAMES


@pytest.mark.parametrize("rates", [False, True], ids=["language model", "model of ratings"])
def test_an_adapter_keeps_its_head_of_ratings(tmp_path, rates):
    pytest.importorskip("peft")
    from peft import LoraConfig

    if rates:
        trained(tmp_path, rated_groups(4)).save_model(str(tmp_path / "base"))
    else:
        base, tokenizer = tiny_models.qwen2_causal()
        base.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
    trainer = RewardTrainer(
        str(tmp_path / "base"),
        settings(tmp_path, save_merged=False),
        train_dataset=rated_groups(6),
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    model = RewardModel.from_pretrained(str(tmp_path / "saved"))
    [part] = model.score("question 1", [" good"], return_parts=True)
    assert list(part.attributes) == NAMES
    assert part.reward == pytest.approx(sum(part.attributes.values()) / 2, rel=1e-5)


def test_a_start_with_other_ratings_is_refused_with_both(tmp_path):
    trained(tmp_path, rated_groups(4)).save_model(str(tmp_path / "base"))
    three = [PreferenceGroup("q", (" a", " b"), ratings=dict.fromkeys("xyz", (1.0, 2.0)))] * 4
    with pytest.raises(CheckpointError, match=rf"2 labels \({', '.join(NAMES)}\), but 3 ratings"):
        RewardTrainer(str(tmp_path / "base"), settings(tmp_path), train_dataset=three)


def test_preferences_and_ratings_are_learned_in_one_run(tmp_path):
    groups = [*rated_groups(3, compares=True), *rated_groups(2, seed=1)]
    groups.append(PreferenceGroup("only compared", (" a", " b"), (Comparison(0, 1),)))
    trainer = trained(tmp_path, groups, loss_type="bradley_terry", rating_loss_coefficient=1.0)
    assert trainer.encoding_reports["train"].groups == 6
    assert trainer.step_loss.totals([trainer.data_collator([trainer.train_dataset[0]])]).keys() == {"loss", "ratings"}


def test_one_rating_is_a_plain_head_of_one_output(tmp_path):
    trainer = trained(tmp_path, rated_groups(4), attributes=["helpfulness"])
    assert trainer.model.score.weight.shape[0] == 1
    trainer.save_model(str(tmp_path / "saved"))
    model = RewardModel.from_pretrained(str(tmp_path / "saved"))
    [part] = model.score("question 1", [" good"], return_parts=True)
    assert part.attributes == {"helpfulness": part.reward}


def test_ratings_of_minus_100_are_masked_and_counted():
    group = PreferenceGroup("q", ("a", "b"), ratings={"helpfulness": (-100, 3)})
    table, counts = rating_rows(group, NAMES, "rated.jsonl:row 1")
    assert [[math.isnan(score) for score in row] for row in table] == [[True, True], [False, True]]
    assert sum(counts.values()) == 1


@pytest.mark.parametrize("score", ["4", True, math.inf])
def test_a_rating_that_is_no_number_is_named_with_row_and_attribute(score):
    group = PreferenceGroup("q", ("a", "b"), ratings={"helpfulness": (1.0, score)})
    with pytest.raises(DataError, match=r"rated\.jsonl:row 1: rating 'helpfulness' of completion 1 is .*finite number"):
        rating_rows(group, NAMES, "rated.jsonl:row 1")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"attributes": ["helpfullness"]}, "did you mean 'helpfulness'"),
        (
            {"attributes": ["helpfulness"], "attribute_weights": ["verbosity=1"]},
            "'verbosity' is none of the attributes",
        ),
        ({"attributes": NAMES, "attribute_weights": ["verbosity=1"]}, "lacks 'helpfulness'"),
        ({"attributes": ["helpfulness", "helpfulness"]}, "twice"),
    ],
)
def test_names_that_no_rating_has_are_refused_with_the_nearest(tmp_path, changes, error):
    with pytest.raises(ConfigError, match=error):
        take_attributes(settings(tmp_path, **changes), rated_groups(2))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"attribute_weights": ["helpfulness"]}, "NAME=NUMBER"),
        ({"attribute_weights": ["helpfulness=0"]}, "all 0"),
        ({"center_rewards_coefficient": 0.01}, "center_rewards_coefficient has no effect on regression"),
        ({"rating_loss_coefficient": 1.0}, "its own"),
        ({"loss_type": "bradley_terry", "attributes": NAMES}, "attributes has no effect on bradley_terry"),
        ({"ensemble": 2}, "ensemble_kind='models'"),
        ({"label_smoothing": 0.1}, "label_smoothing has no effect on regression"),
        ({"rating_loss": "hubr"}, "did you mean 'huber'"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(tmp_path, changes, error):
    with pytest.raises(ConfigError, match=error):
        settings(tmp_path, **changes)


def test_rows_that_fit_no_objective_say_what_would_read_them(tmp_path):
    with pytest.raises(DataError, match=r"rate answers \(helpfulness, verbosity\).*--loss_type regression"):
        encode_dataset(rated_groups(2), Encoder(Renderer(tiny_models.qwen2()[1])), "train")
    with pytest.raises(DataError, match=r"no answer of the training data is rated.*bradley_terry"):
        take_attributes(settings(tmp_path), [PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),))])


@pytest.mark.parametrize(
    ("scores", "error"), [((2.0, 2.0), "is 2 in all 2 answers"), ((None, None), "no answer .* rated 'flat'")]
)
def test_an_attribute_that_says_nothing_is_refused(tmp_path, scores, error):
    groups = [PreferenceGroup("q", ("a", "b"), ratings={"helpfulness": (1.0, 3.0), "flat": scores})]
    with pytest.raises((DataError, ConfigError), match=error):
        trained(tmp_path, groups, attributes=["helpfulness", "flat"])


def test_names_are_found_in_rows_of_a_table_and_streams_are_looked_into():
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "chosen_ratings": {"x": 1.0}, "rejected_ratings": {"x": 0}}]
    assert rating_names(Dataset.from_list(rows)) == (["x"], True)
    assert rating_names(iter(())) == ([], False)
