"""The server gives the rewards of imported models, ensembles and step models; what it cannot serve it says at start."""

import asyncio
import math
from dataclasses import fields
from functools import partial

import foreign_layouts
import httpx
import pytest
import tiny_models

from rewardsmith import RewardModel
from rewardsmith.clients.client import AsyncRewardClient, RewardClient
from rewardsmith.errors import ConfigError
from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.app import build_app

PROMPT, ANSWERS = "is maybe", ["good", "awful answer", "fine\n\npoor"]
CHAT = [{"role": "user", "content": PROMPT}]


def ask(url, path, body):
    answer = httpx.post(url + path, json=body, timeout=60)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("layout", ["skywork", "openrlhf", "value_head", "armo", "internlm2", "step_model"])
def test_imported_models_give_over_http_what_they_give_in_python(tmp_path, start_server, layout):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    model = RewardModel.from_pretrained(path, device="cpu", trust_remote_code=True)
    expected = model.score(CHAT, ANSWERS)
    with start_server(model) as url:
        code, answer = ask(url, "/v1/reward", {"prompt": CHAT, "completions": ANSWERS})
        assert (code, answer["results"][0]["rewards"]) == (200, pytest.approx(expected, abs=1e-5))
        assert "layout: " in answer["scoring"]["rule"]
        conversations = [[*CHAT, {"role": "assistant", "content": a}] for a in ANSWERS]
        found = [ask(url, "/classify", {"messages": c})[1]["data"][0]["probs"][0] for c in conversations]
        assert found == pytest.approx(expected, abs=1e-5)


def test_an_ensemble_is_served_as_one_model(tmp_path, start_server):
    # Two of one layout: a server needs members that write and tokenise a text alike.
    paths = [foreign_layouts.value_head(tmp_path / name)[0] for name in "ab"]
    model = RewardModel.from_pretrained(paths, device="cpu", combine="min")
    with start_server(model) as url:
        code, answer = ask(url, "/v1/reward", {"prompt": CHAT, "completions": ANSWERS})
        assert (code, answer["results"][0]["rewards"]) == (200, pytest.approx(model.score(CHAT, ANSWERS), abs=1e-5))
        assert answer["scoring"]["rule"].startswith("min of 2 models")


# What a head gave before anything was combined stays inside.
TOLD = {field.name for field in fields(RewardParts) if field.compare}


def same(found, expected):
    """Whether what is told of parts is equal within 1e-5; NaN is equal to NaN."""
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        for name in TOLD:
            assert getattr(left, name) == pytest.approx(getattr(right, name), abs=1e-5, nan_ok=True)
    return True


@pytest.mark.parametrize("layout", ["armo", "step_model", "skywork"])
def test_the_client_gives_the_parts_that_python_gives(tmp_path, start_server, layout):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    model = RewardModel.from_pretrained(path, device="cpu", trust_remote_code=True)
    expected = model.score(CHAT, ANSWERS, return_parts=True)
    assert any(part.attributes for part in expected) == (layout == "armo")
    assert any(part.steps for part in expected) == (layout == "step_model")
    with start_server(model) as url, RewardClient(url) as client:
        assert same(client.score(CHAT, ANSWERS, return_parts=True), expected)
        assert same(asyncio.run(AsyncRewardClient(url).score(CHAT, ANSWERS, return_parts=True)), expected)


def test_an_ensembles_members_and_their_spread_come_over_http(tmp_path, start_server, monkeypatch):
    paths = [foreign_layouts.value_head(tmp_path / "a")[0]]
    monkeypatch.setattr(foreign_layouts, "build_backbone", partial(foreign_layouts.build_backbone, seed=1))
    paths.append(foreign_layouts.value_head(tmp_path / "b")[0])
    model = RewardModel.from_pretrained(paths, device="cpu")
    expected = model.score(CHAT, ANSWERS, return_parts=True)
    assert all(part.spread > 0 and len(part.members) == 2 for part in expected)
    with start_server(model) as url, RewardClient(url) as client:
        assert same(
            client.score_parts([ScoreRequest(CHAT[0]["content"], ("a",))])[0],
            model.score(PROMPT, ["a"], return_parts=True),
        )
        _, answer = ask(url, "/v1/reward", {"prompt": CHAT, "completions": ANSWERS, "return_parts": True})
        found = answer["results"][0]["parts"]
        assert [list(part) for part in found] == [["reward", "spread", "members", "attributes", "steps"]] * 3
        assert same(
            [RewardParts(**{**part, "members": tuple(part["members"]), "steps": ()}) for part in found], expected
        )


def test_parts_stand_in_the_answer_only_when_asked_for_and_are_normalised_with_the_rewards(tmp_path, start_server):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm", mean=0.5, std=2.0)
    model = RewardModel.from_pretrained(path, device="cpu")
    body = {"prompt": CHAT, "completions": ANSWERS}
    with start_server(model) as url:
        assert ask(url, "/v1/reward", body)[1]["results"][0]["parts"] is None
        _, answer = ask(url, "/v1/reward", {**body, "return_parts": True, "normalized": True})
        properties = httpx.get(url + "/openapi.json").json()["components"]["schemas"]
    expected = model.score(CHAT, ANSWERS, normalized=True)
    assert [part["reward"] for part in answer["results"][0]["parts"]] == pytest.approx(expected, abs=1e-5)
    assert [part["spread"] for part in answer["results"][0]["parts"]] == [None] * 3
    assert "return_parts" in properties["RewardBody"]["properties"]
    assert set(properties["RewardPartsAnswer"]["properties"]) == TOLD


def test_a_failed_sequence_has_no_parts_and_hurts_no_other(reward_model, start_server):
    class Broken:
        def __getattr__(self, name):
            return getattr(reward_model, name)

        def read_encoded(self, groups):
            marked = reward_model.encode(ScoreRequest("", ("awful",)))[0]
            return [[RewardParts(math.nan if ids == marked else 1.0) for ids in group] for group in groups]

    with start_server(Broken()) as url:
        body = {"inputs": [{"text": "awful"}, {"text": "good"}], "partial": True, "return_parts": True}
        code, answer = ask(url, "/v1/reward", body)
    assert code == 200
    failed, scored = (result["parts"] for result in answer["results"])
    assert failed == [None]
    assert scored[0]["reward"] == 1.0


def test_openrlhfs_mean_and_deviation_normalise(tmp_path, start_server):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm", mean=0.5, std=2.0)
    model = RewardModel.from_pretrained(path, device="cpu")
    with start_server(model) as url:
        code, answer = ask(url, "/v1/reward", {"prompt": CHAT, "completions": ANSWERS, "normalized": True})
        expected = model.score(CHAT, ANSWERS, normalized=True)
        assert (code, answer["results"][0]["rewards"]) == (200, pytest.approx(expected, abs=1e-5))


def test_a_text_without_steps_is_the_callers_error(tmp_path, start_server):
    path, _ = foreign_layouts.step_model(tmp_path / "prm")
    model = RewardModel.from_pretrained(path, device="cpu")
    text = foreign_layouts.step_tokenizer().apply_chat_template(
        [*CHAT, {"role": "assistant", "content": "good"}], tokenize=False
    )
    with start_server(model) as url:
        code, answer = ask(url, "/v1/reward", {"text": text})
        assert code == 422
        assert "holds no step" in str(answer)


def test_what_cannot_score_single_texts_is_refused_at_start(tmp_path):
    comparer = RewardModel.from_pretrained(foreign_layouts.pair_rm(tmp_path / "pair")[0], device="cpu")
    with pytest.raises(ConfigError, match=r"cannot be served: .* it compares answers"):
        build_app(comparer)
    first, _ = foreign_layouts.openrlhf(tmp_path / "a")
    built, tokenizer = tiny_models.llama()
    built.save_pretrained(tmp_path / "b")
    tokenizer.save_pretrained(tmp_path / "b")
    mixed = RewardModel.from_pretrained([first, str(tmp_path / "b")], device="cpu")
    with pytest.raises(ConfigError, match="its members tokenise differently"):
        build_app(mixed)
