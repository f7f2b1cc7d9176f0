"""`rewardsmith collect duel` and `order` with trained models that lie in folders."""

import numpy as np
import pytest
from cli.conftest import write_jsonl
from collecting_people import annotator
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.cli.main import main
from rewardsmith.collecting import open_collection
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.features import predict
from rewardsmith.stats.ordering import order_values

WORDS = ("good", "bad", "fine", "poor", "odd", "one", "two", "answer", "number", "thing", "about", "a", "the", "is")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models that learnt the opposite of one another."""
    folder = tmp_path_factory.mktemp("models")
    pairs = [("good fine", "bad poor"), ("good answer", "odd answer"), ("fine thing", "poor thing"), ("good", "bad")]
    for name, sign in (("a", 1), ("b", -1)):
        rows = [dict(zip(("prompt", "chosen", "rejected"), ("one?", *pair[::sign]), strict=True)) for pair in pairs]
        trainer = trainer_for(folder / f"{name}-run", rows, num_train_epochs=4, learning_rate=5e-3)
        trainer.train()
        trainer.save_model(str(folder / name))
    return str(folder / "a"), str(folder / "b")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    texts = [[" ".join(draw.choice(WORDS, 4)) for _ in range(2)] for _ in range(20)]
    write_jsonl(
        tmp_path / "answers.jsonl", [{"prompt": f"one {n}?", "completions": two} for n, two in enumerate(texts)]
    )
    return tmp_path


def test_a_duel_of_two_folders_ends_with_the_one_that_people_follow(models, here, capsys):
    command = ["collect", "duel", *models, "--prompts", "answers.jsonl", "--report", "--labels", "60", "--no-verify"]
    assert main(command) == 0
    assert "0 of 20 pairs labelled; nothing can be said yet" in capsys.readouterr().out
    collection = open_collection("duel.yaml")
    person, scorer = annotator(collection), RewardModel.from_pretrained(models[0], verify=False)
    while (one := claim(collection.store, collection.project, person)) is not None:
        felt = scorer.score_requests([ScoreRequest(one.prompt, tuple(one.completions))])[0]
        order = [[int(np.argmax(felt))], [int(np.argmin(felt))]]
        sent = Submission(one.slot_id, one.token, one.token, "answer", {"answers": {"overall": {"order": order}}})
        submit(collection.store, collection.settings_id, collection.project, person, sent)
    collection.close()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert f"A ({models[0]}) agrees with people on 100.0%" in out
    assert f"{models[0]} agrees with people more" in out


def test_orders_by_a_folder_are_those_of_its_rewards_and_features(models, here, capsys):
    assert main(["collect", "init", "p.yaml", "--overlap", "5"]) == 0
    assert main(["collect", "import", "answers.jsonl"]) == 0
    scorer, collection = RewardModel.from_pretrained(models[0], verify=False), open_collection("p.yaml")
    items = load_items(collection.store)
    asked = [ScoreRequest(item.prompt, tuple(item.completions)) for item in items]
    for order in ("gap", "uncertainty", "fisher"):
        assert main(["collect", "order", order, "--model", models[0], "--no-verify"]) == 0
        assert f"{len(items)} items in order {order}" in capsys.readouterr().out
        values = np.array(order_values(order, predict(scorer, asked, order)))
        first = claim(collection.store, collection.project, annotator(collection, order)).item_id
        place = [item.item_id for item in items].index(first)
        assert values[place] == pytest.approx(values.max(), abs=1e-4)
    collection.close()
