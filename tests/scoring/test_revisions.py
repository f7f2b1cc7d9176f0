"""One repository, two revisions, two rewards: whoever opens a model says which, and everything it writes knows it."""

import json

import pytest
import tiny_models
import torch
from hub_cache import cached, use_cache

from rewardsmith import RewardModel, doctor, export, score_file
from rewardsmith.cli.main import main
from rewardsmith.errors import CheckpointError
from rewardsmith.models.checkpoint import save_reward_model
from rewardsmith.models.contract import read_contract
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.tokenizer import prepare_tokenizer

REPO = "me/reward"
ASKED = ("is maybe", [" fine", " awful"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models of one shape; the second gives twice the reward."""
    place = tmp_path_factory.mktemp("revisions")
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    for name in ("main", "refs/pr/1"):
        save_reward_model(model, tokenizer, place / name, prepare_model(model), verify=False)
        with torch.no_grad():
            model.score.weight.mul_(2)
    return {name: place / name for name in ("main", "refs/pr/1")}


@pytest.fixture
def commits(folders, tmp_path, monkeypatch):
    use_cache(monkeypatch, tmp_path / "cache")
    return cached(tmp_path / "cache", REPO, folders)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": ASKED[0], "completions": ASKED[1]}) + "\n")
    return path


def rewards_of(path):
    return json.loads(path.read_text())["rewards"]


def test_a_revision_is_a_branch_a_commit_or_the_end_of_the_name(commits):
    first = RewardModel.from_pretrained(REPO).score(*ASKED)
    doubled = pytest.approx([2 * value for value in first], abs=1e-6)
    for revision in ("refs/pr/1", commits["refs/pr/1"]):
        assert RewardModel.from_pretrained(REPO, revision=revision).score(*ASKED) == doubled
        assert RewardModel.from_pretrained(f"{REPO}@{revision}").score(*ASKED) == doubled
    # Each member of an ensemble names its own; what names none takes the common one.
    both = RewardModel.from_pretrained([f"{REPO}@main", REPO], revision="refs/pr/1")
    assert both.score(*ASKED) == pytest.approx([1.5 * value for value in first], abs=1e-6)


def test_a_revision_that_is_not_there_or_of_a_folder_is_one_line(commits, folders):
    with pytest.raises(CheckpointError, match=r"me/reward: .* the hub cannot give revision 'v9' of it"):
        RewardModel.from_pretrained(f"{REPO}@v9")
    for name in (str(folders["main"]), "./nothing", "/no/such/folder"):
        with pytest.raises(CheckpointError, match="is no hub id, so it has no revision 'v9'; leave the revision out"):
            RewardModel.from_pretrained(name, revision="v9")


def test_a_job_of_another_revision_is_not_continued(commits, rows, tmp_path, capsys):
    out = tmp_path / "scored.jsonl"
    assert main(["score", REPO, str(rows), str(out)]) == 0
    first = rewards_of(out)
    assert main(["score", REPO, str(rows), str(out), "--revision", "refs/pr/1"]) == 1
    assert "model" in capsys.readouterr().err.splitlines()[-1]
    assert main(["score", REPO, str(rows), str(out), "--revision", "refs/pr/1", "--overwrite"]) == 0
    assert rewards_of(out) == pytest.approx([2 * value for value in first], abs=1e-6)
    # The branch by its commit is the same model.
    assert main(["score", f"{REPO}@{commits['refs/pr/1']}", str(rows), str(out)]) == 0
    score_file(REPO, rows, tmp_path / "twin.jsonl", revision="refs/pr/1")
    assert (tmp_path / "twin.jsonl").read_text() == out.read_text()


def test_verify_doctor_and_export_read_the_revision(commits, tmp_path, capsys):
    assert main(["verify", REPO, "--revision", "refs/pr/1"]) == 0
    assert capsys.readouterr().out.count("ok  ") == 3
    assert doctor(REPO, revision="refs/pr/1").level != "red"
    assert main(["verify", REPO, "--revision", "v9"]) == 1
    report = export(REPO, tmp_path / "copy", revision="refs/pr/1", verify=False)
    assert read_contract(report.folder).source == f"{REPO}@{commits['refs/pr/1']}"
    copy = RewardModel.from_pretrained(str(report.folder)).score(*ASKED)
    assert copy == pytest.approx(RewardModel.from_pretrained(REPO, revision="refs/pr/1").score(*ASKED), abs=1e-6)
    # A contract names the hub alone, no folder of this machine.
    assert read_contract(export(str(report.folder), tmp_path / "again", verify=False).folder).source is None


def test_two_revisions_are_compared_by_their_names(commits, tmp_path, capsys):
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny_models.pairs(12)))
    assert main(["compare", f"{REPO}@main", f"{REPO}@refs/pr/1", str(data), "--json", "-", "--resamples", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"{REPO}@refs/pr/1" in json.dumps(found)


@pytest.mark.usefixtures("commits")
def test_average_and_plan_read_the_revision_that_a_flag_names(rows, tmp_path, capsys):
    for words in (["average", tmp_path / "mean", REPO, REPO], ["plan", REPO, rows]):
        assert main([*map(str, words), "--revision", "nowhere"]) == 1
        assert "nowhere" in capsys.readouterr().err
