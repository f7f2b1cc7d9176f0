"""`rewardsmith collect serve`: what is refused before anything is served, and what is printed."""

import numpy as np
import pytest
from cli.conftest import write_jsonl
from collecting_people import annotator, answer
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.cli.main import main
from rewardsmith.collecting import open_collection
from rewardsmith.collecting.app import run
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.data.loading import load_preferences
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.features import predict
from rewardsmith.stats.ordering import order_values


def test_a_port_that_is_none_is_refused_before_anything_is_served(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "serve", "--port", "99999"]) == 1
    assert "--port is 99999" in capsys.readouterr().err


def test_one_endpoint_makes_no_arena_and_a_key_wants_its_certificate(capsys):
    assert main(["collect", "serve", "--endpoint", "one=http://127.0.0.1:9/v1"]) == 1
    assert "an arena needs two or more endpoints" in capsys.readouterr().err
    assert main(["collect", "serve", "--key", "key.pem"]) == 1
    assert "--certificate and --key belong together" in capsys.readouterr().err


def test_a_server_that_is_open_to_others_prints_a_link_that_opens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDSMITH_COLLECT_SECRET", "s" * 40)
    served = []
    monkeypatch.setattr(run, "serve", lambda collection, address: served.append((collection.close(), address)))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "serve", "--host", "0.0.0.0", "--plain-http"]) == 0
    text = capsys.readouterr().err
    assert "http://127.0.0.1:8001/invite/" in text
    assert "0.0.0.0" not in text
    assert "--public-url" in text
    flags = ["--host", "0.0.0.0", "--behind-proxy", "--public-url", "https://label.example.org"]
    assert main(["collect", "serve", *flags]) == 0
    text = capsys.readouterr().err
    assert "https://label.example.org/invite/" in text
    assert "--public-url" not in text
    assert served[1][1].host == "0.0.0.0"
    assert main(["collect", "serve", "--public-url", "https://label.example.org"]) == 1
    assert "--behind-proxy" in capsys.readouterr().err


@pytest.fixture
def person(monkeypatch):
    """Somebody who judges three items and then presses Ctrl-C, in place of the server."""
    seen = []

    def judge(collection, address):
        seen.append((collection.project, address))
        who = annotator(collection, f"ann {len(seen)}")
        for _ in range(3):
            assert answer(collection, who) is not None
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "serve", judge)
    return seen


@pytest.mark.parametrize("task", ["pair", "ranking", "best"])
def test_what_was_judged_is_there_after_ctrl_c(tmp_path, capsys, person, task, monkeypatch):
    if task == "best":
        import collecting_people

        monkeypatch.setattr(collecting_people, "submit", _best(collecting_people.submit))
    folder = tmp_path / "demo"
    assert main(["collect", "demo", "--folder", str(folder), "--items", "4", "--task", task, "--port", "8123"]) == 0
    printed = capsys.readouterr()
    assert "http://127.0.0.1:8123/invite/" in printed.err
    assert "3 preference groups" in printed.out
    assert "rewardsmith train" in printed.out
    groups = load_preferences(folder / "judgements.jsonl")
    assert len(groups) == 3
    assert all(group.comparisons for group in groups)
    assert person[0][0].main_question.task == task


def _best(submit):
    def best(store, settings, project, who, sent):
        from dataclasses import replace

        return submit(store, settings, project, who, replace(sent, answer={"answers": {"overall": {"best": 0}}}))

    return best


def test_a_second_start_goes_on_where_the_first_ended(tmp_path, capsys, person):
    for _ in range(2):
        assert main(["collect", "demo", "--folder", str(tmp_path), "--items", "8"]) == 0
    assert "6 preference groups" in capsys.readouterr().out


def test_a_demo_without_items_is_refused(tmp_path, capsys):
    assert main(["collect", "demo", "--folder", str(tmp_path / "x"), "--items", "0"]) == 1
    assert "--items must be 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


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
