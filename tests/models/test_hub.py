"""What of a folder makes its model, and its way to the hub by hand."""

import shutil

import pytest
import tiny_models
from huggingface_hub.errors import OfflineModeIsEnabled

from rewardsmith.errors import HubError
from rewardsmith.models.foreign.folder import write_members
from rewardsmith.models.hub import Place, model_files, open_place, push_folder, refusals
from rewardsmith.scoring import RewardModel
from rewardsmith.scoring.averaging import average_models

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")
MODEL = {"config.json", "model.safetensors", "scoring_contract.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny_models.save_reward(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def ensemble(saved, tmp_path):
    for name in ("member-1", "member-2"):
        shutil.copytree(saved, tmp_path / "both" / name)
    write_members(tmp_path / "both", ["member-1", "member-2"])
    (tmp_path / "both" / "notes.json").write_text("{}")
    return tmp_path / "both"


def reward(name, **how):
    return RewardModel.from_pretrained(str(name), **how).score("good", [" fine", " awful"])


def test_a_model_that_was_opened_pushes_its_own_files(hub, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / "notes.json").write_text("{}")
    address = RewardModel.from_pretrained(str(folder)).push_to_hub("me/rewards", private=True)
    assert "/me/rewards/commit/" in address
    assert hub.files("me/rewards").keys() == MODEL | {"chat_template.jinja"}
    assert reward("me/rewards") == reward(saved)


def test_an_ensemble_pushes_its_members(hub, ensemble):
    RewardModel.from_pretrained(str(ensemble)).push_to_hub("me/both", revision="second")
    found = hub.files("me/both", "second").keys()
    assert {"ensemble.json", "member-1/model.safetensors", "member-2/scoring_contract.json"} <= found
    assert not {"notes.json", "model.safetensors"} & found
    assert reward("me/both", revision="second") == reward(ensemble)


def test_the_mean_of_models_pushes_as_one_model(hub, ensemble, tmp_path):
    average_models([ensemble], tmp_path / "mean", verify=False)
    push_folder(tmp_path / "mean", Place("me/mean"), "mean")
    assert hub.files("me/mean").keys() == MODEL | {"chat_template.jinja"}
    assert reward("me/mean") == pytest.approx(reward(ensemble), abs=1e-5)


def test_a_folder_whose_files_nobody_named_is_not_pushed(hub, tmp_path):
    for part in tiny_models.qwen2():
        part.save_pretrained(tmp_path)
    with pytest.raises(HubError, match=r"has no scoring_contract\.json.*rewardsmith export"):
        push_folder(tmp_path, Place("me/rewards"), "x")
    with pytest.raises(HubError, match=r"me/other is no folder on this machine"):
        push_folder("me/other", Place("me/rewards"), "x")
    assert not hub.requests


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "log in"), (403, "a token that may write there"), (404, "check the name"), (503, "fails: try later")],
)
def test_each_refusal_says_what_to_do(hub, status, remedy):
    hub.refuses = lambda method, path: status
    with pytest.raises(HubError, match=rf"does not take me/rewards: .*{status}.*; .*{remedy}.*; kept"):
        open_place(Place("me/rewards"), None, "kept")


def test_a_hub_that_cannot_be_reached_and_a_name_that_is_none_say_so(monkeypatch):
    with pytest.raises(HubError, match="check the network and HF_ENDPOINT; kept"), refusals("me/x", "kept"):
        raise OfflineModeIsEnabled("offline")
    with pytest.raises(HubError, match="write it as owner/name"), refusals("a/b/c", "kept"):
        raise ValueError("a/b/c")


def test_a_repository_that_is_there_is_written_to(hub, saved):
    hub.create("me/rewards")
    push_folder(saved, Place("me/rewards"), "again")
    assert hub.files("me/rewards").keys() >= MODEL


def test_what_a_run_keeps_for_itself_is_no_part_of_a_model(saved, tmp_path):
    for part in tiny_models.qwen2():
        part.save_pretrained(tmp_path)
    (tmp_path / "checksums.json").write_text("{}")
    assert "checksums.json" in model_files(tmp_path)
    assert "checksums.json" not in model_files(tmp_path, of_run=["checksums.json"])
