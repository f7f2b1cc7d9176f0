"""Rounds of tiny models: what each leaves, that a stop at any stage changes nothing, and people as judges."""

import json
from dataclasses import replace

import pytest
import tiny_models

from rewardsmith.data.gold import GoldScorer
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.rl.policy import load_prompts
from rewardsmith.rl.rounds import Rounds, RoundSettings, _without

REWARD = {
    "use_cpu": True, "save_strategy": "no", "per_device_train_batch_size": 4, "gradient_checkpointing": False,
    "disable_tqdm": True, "verify_saved_model": False, "num_train_epochs": 1,
}  # fmt: skip
OPTIMISE = {"num_rounds": 1, "prompts_per_round": 2, "num_generations": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, (model, tokenizer) in {"policy": tiny_models.qwen2_causal(), "start": tiny_models.qwen2()}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def rounds(models, folder, say=lambda line: None, **changes):
    settings = {
        "policy": str(models / "policy"), "reward_start": str(models / "start"), "prompts": "simulator:12",
        "num_rounds": 2, "labels": 4, "candidates": 8, "pick": "gap", "max_completion_length": 6,
        "num_eval_prompts": 2, "reward": REWARD, "optimise": OPTIMISE,
    }  # fmt: skip
    settings = RoundSettings(**(settings | changes))
    return Rounds(settings, folder, load_prompts(settings.prompts), GoldScorer(), say)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    stages = []
    return folder, rounds(models, folder, stages.append).run(), stages


def test_every_round_learns_from_all_judgements_and_goes_on_with_the_last_policy(whole):
    folder, result, _ = whole
    assert [one.labels for one in result.rounds] == [4, 8]
    assert result.waiting is None
    for number in (1, 2):
        assert len(lines(folder / f"round-{number}" / "judgements.jsonl")) == 4
        assert (folder / f"round-{number}" / "reward" / "scoring_contract.json").exists()
    record = json.loads((folder / "round-2" / "policy" / "run.json").read_text())
    assert record["policy"] == str(folder / "round-1" / "policy")


def test_pairs_are_picked_at_random_first_and_then_by_the_last_reward_model(whole):
    folder, _, _ = whole
    orders = [{row["order"] for row in lines(folder / f"round-{number}" / "picked.jsonl")} for number in (1, 2)]
    assert orders == [{"random"}, {"gap"}]
    values = [row["order_value"] for row in lines(folder / "round-2" / "picked.jsonl")]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0


def test_a_run_that_is_stopped_at_every_stage_ends_as_a_whole_one(models, whole, tmp_path):
    folder, result, stages = whole
    assert len(stages) == 8

    class Stopped(Exception):
        pass

    for stage in stages:

        def stop(line, at=stage):
            if line == at:
                raise Stopped

        with pytest.raises(Stopped):
            rounds(models, tmp_path, stop).run()
    again = rounds(models, tmp_path).run()
    assert [one.gain for one in again.rounds] == [one.gain for one in result.rounds]
    for number in (1, 2):
        for name in ("picked.jsonl", "judgements.jsonl", "policy/curve.jsonl"):
            mine, other = (place / f"round-{number}" / name for place in (folder, tmp_path))
            assert mine.read_text() == other.read_text(), name


def test_people_are_waited_for_and_their_judgements_taken(models, tmp_path):
    waiting = rounds(models, tmp_path, judge="people").run().waiting
    assert waiting == tmp_path / "round-1" / "picked.jsonl"
    rows = [
        {"prompt": row["prompt"], "chosen": row["completions"][0], "rejected": row["completions"][1]}
        for row in lines(waiting)
    ]
    (tmp_path / "round-1" / "judgements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = rounds(models, tmp_path, judge="people").run()
    assert [one.labels for one in result.rounds] == [4]
    assert result.waiting == tmp_path / "round-2" / "picked.jsonl"


def test_other_settings_in_a_used_folder_and_too_few_prompts_are_refused(models, whole, tmp_path):
    folder, _, _ = whole
    with pytest.raises(ConfigError, match="rounds with other labels, pick"):
        rounds(models, folder, labels=5, pick="fisher").run()
    with pytest.raises(DataError, match="12 prompts, of which 11 are held out"):
        rounds(models, tmp_path, num_eval_prompts=11).run()
    (tmp_path / "something").write_text("")
    with pytest.raises(ConfigError, match="holds something else"):
        rounds(models, tmp_path).run()


@pytest.mark.parametrize(
    ("part", "given", "said"),
    [
        ("optimise", {"prompts_per_rond": 2}, "did you mean 'prompts_per_round'"),
        ("reward", {"learning_rte": 1e-3}, "did you mean 'learning_rate'"),
        ("reward", {"output_dir": "x"}, "leave it out"),
    ],
)
def test_a_setting_that_a_part_does_not_have_is_refused_before_anything_is_sampled(models, tmp_path, part, given, said):
    with pytest.raises(ConfigError, match=rf"^{part}: .*{said}"):
        rounds(models, tmp_path / "new", **{part: given}).run()
    assert not (tmp_path / "new").exists()


def test_a_judgement_that_a_later_export_repeats_counts_once():
    edge = Comparison(0, 1, annotator="ann", time="2026-01-01T00:00:00+00:00")
    first = PreferenceGroup("Q?", ("yes", "no"), (edge, replace(edge, annotator="bob")))
    again = replace(first, completions=("no", "yes"), comparisons=(replace(edge, better=1, worse=0),))
    seen: set = set()
    assert len(_without(seen, first).comparisons) == 2
    assert _without(seen, again).comparisons == ()
    assert len(_without(seen, replace(first, comparisons=(Comparison(0, 1), Comparison(0, 1)))).comparisons) == 2
