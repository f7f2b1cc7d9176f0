import asyncio
import math
import warnings
from dataclasses import replace

import foreign_layouts
import pytest
import tiny_models
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from rewardsmith.clients.client import RewardClient
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError
from rewardsmith.records import ScoreRequest
from rewardsmith.rl.rewards import BATCHES_WITHOUT_SIGNAL, reward_function
from rewardsmith.rl.shaping import LengthPenalty, RewardOptions
from rewardsmith.scoring.reward_model import RewardModel

PROMPTS = ["is it good", "the question", "is it good", "the question", "is it good", "the question"]
ANSWERS = [" good", " bad", " great", " awful", " nice answer", " poor"]


class Lengths:
    """A scorer that refuses one word and keeps what it was asked."""

    name = "models/lengths"

    def __init__(self):
        self.asked = []

    def score_requests(self, requests):
        self.asked += requests
        if any("refused" in text for request in requests for text in request.completions):
            raise ScoringError("refused")
        return [[float(len(text)) for text in request.completions] for request in requests]


def as_messages(prompts, answers):
    return [[{"role": "user", "content": p}] for p in prompts], [[{"role": "assistant", "content": a}] for a in answers]


def count_tokens(model):
    """Count forwards and the tokens that they read."""
    seen = []
    hook = model.model.get_input_embeddings().register_forward_hook(lambda m, ids, o: seen.append(ids[0].numel()))
    return seen, hook


def test_rewards_are_those_of_the_model_and_a_prompt_is_computed_once(reward_model):
    function = reward_function(reward_model)
    seen, hook = count_tokens(reward_model)
    try:
        found = function(prompts=PROMPTS, completions=ANSWERS, completion_ids=None, trainer_state=None)
        assert len(seen) == 1
        shared = seen[0]
        wanted = [reward_model.score(p, [a])[0] for p, a in zip(PROMPTS, ANSWERS, strict=True)]
        assert shared < sum(seen[1:])
    finally:
        hook.remove()
    assert found == pytest.approx(wanted, abs=1e-5)
    assert function.__name__ == "tiny-rm"


def test_a_server_gives_the_same_rewards_with_one_forward_for_all(url, reward_model):
    local, remote = reward_function(reward_model), reward_function(url)
    prompts, answers = as_messages(PROMPTS, ANSWERS)
    wanted = local(prompts=prompts, completions=answers)
    seen, hook = count_tokens(reward_model)
    try:
        found = remote(prompts=prompts, completions=answers)
    finally:
        hook.remove()
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(seen) <= len(set(PROMPTS))
    assert reward_function(url, options=RewardOptions(normalized=True)).score(prompts, answers) == pytest.approx(
        [(reward - 0.25) / 2 for reward in wanted], abs=1e-5
    )


@pytest.mark.parametrize("combine", ["soft_min", "mean_minus_std"])
def test_a_served_ensemble_is_normalised_and_combined_as_one_in_process(tmp_path, start_server, combine):
    places = [
        foreign_layouts.openrlhf(tmp_path / f"rm{n}", mean=n, std=scale)[0] for n, scale in enumerate((2.0, 10.0))
    ]
    model = RewardModel.from_pretrained(places, device="cpu")
    how = RewardOptions(combine=combine, penalty=0.5, normalized=True, uncertainty=2.0)
    with start_server(model) as address, RewardClient(address) as client:
        wanted = reward_function(model, options=how).score(PROMPTS, ANSWERS)
        assert reward_function(address, options=how).score(PROMPTS, ANSWERS) == pytest.approx(wanted, abs=1e-5)
        assert reward_function(client, options=how).score(PROMPTS, ANSWERS) == pytest.approx(wanted, abs=1e-5)
        for asked, error in ((model, "a deviation of its own"), (address, "names no one standard deviation")):
            with pytest.raises(ConfigError, match=error):
                reward_function(asked, options=replace(how, length=LengthPenalty(0.1))).score(PROMPTS, ANSWERS)


def test_a_length_penalty_is_in_raw_rewards_wherever_they_are_normalised(url, reward_model):
    how = RewardOptions(normalized=True, length=LengthPenalty(0.5))
    raw = reward_function(reward_model).score(PROMPTS, ANSWERS)
    wanted = [(r - 0.5 * len(a.split()) - 0.25) / 2 for r, a in zip(raw, ANSWERS, strict=True)]
    assert reward_function(reward_model, options=how).score(PROMPTS, ANSWERS) == pytest.approx(wanted, abs=1e-5)
    assert reward_function(url, options=how).score(PROMPTS, ANSWERS) == pytest.approx(wanted, abs=1e-5)


def test_a_function_that_fails_is_one_line():
    def mine(prompts, completions, **_):
        return {}["x"]

    with pytest.raises(ScoringError, match=r"^mine failed: KeyError: 'x'$"):
        reward_function(mine)(prompts=["p"], completions=["a"])
    with pytest.raises(ScoringError, match=r"^<lambda> failed: ValueError: could not convert"):
        reward_function(lambda prompts, **_: ["good"])(prompts=["p"], completions=["a"])


def test_a_source_that_scores_nothing_ends_the_run_and_one_that_scored_once_does_not():
    function = reward_function(Lengths())
    with pytest.raises(ScoringError, match="lengths scored none of the first 8 answers: refused"):
        function(prompts=["p"] * 8, completions=["refused"] * 8)
    function = reward_function(Lengths())
    assert function(prompts=["p"] * 8 + ["q"], completions=["refused"] * 8 + ["a"]) == [None] * 8 + [1.0]
    assert function(prompts=["p"] * 8, completions=["refused"] * 8) == [None] * 8


def test_the_coroutine_gives_what_the_function_gives(url, reward_model):
    function = reward_function([url, reward_model], weights=[1.0, -1.0], asynchronous=True)
    found = asyncio.run(function(prompts=PROMPTS, completions=ANSWERS))
    assert found == pytest.approx([0.0] * 6, abs=1e-5)


def test_asked_as_a_scorer_it_passes_tools_and_template_arguments_on():
    asked = [
        ScoreRequest("is it good", (" yes", " no"), [{"name": "a"}], {"enable_thinking": False}),
        ScoreRequest("is it good", (" maybe",)),
        ScoreRequest("the question", (" poor",), None, {"enable_thinking": True}),
    ]
    scorer = Lengths()
    assert reward_function(scorer).score_requests(asked) == [[4.0, 3.0], [6.0], [5.0]]
    assert scorer.asked == asked


def test_samples_of_one_prompt_are_one_request_and_other_tools_another():
    scorer = Lengths()
    tools = [[{"name": "a"}], None, [{"name": "b"}], None, [{"name": "a"}], None]
    assert reward_function(scorer)(prompts=PROMPTS, completions=ANSWERS, tools=tools) == [len(a) for a in ANSWERS]
    assert sorted(len(request.completions) for request in scorer.asked) == [1, 2, 3]


def test_what_cannot_be_scored_is_none_and_takes_no_other_answer_along():
    logged = {}
    function = reward_function(Lengths())
    found = function(prompts=PROMPTS[:3], completions=["ab", "abc", "refused"], log_metric=logged.__setitem__)
    assert found == [2.0, 3.0, None]
    assert logged == {"rewards/lengths/not_scored": pytest.approx(1 / 3)}


def test_rewards_are_weighed_and_none_of_one_source_leaves_the_others():
    def math_only(prompts, completions, subject, **columns):
        return [1.0 if name == "math" else None for name in subject]

    logged = {}
    function = reward_function([Lengths(), math_only], weights=[0.5, 10.0], name="both")
    found = function(
        prompts=["p", "p"], completions=["ab", "abcd"], subject=["math", "art"], log_metric=logged.__setitem__
    )
    assert found == [11.0, 2.0]
    assert function.__name__ == "both"
    assert logged["rewards/math_only/not_scored"] == 0.5
    assert logged["rewards/lengths/mean"] == 3.0


def test_a_function_may_be_a_coroutine():
    async def later(prompts, completions, **columns):
        return [1.0 for _ in prompts]

    assert reward_function(later)(prompts=["p"], completions=["a"]) == [1.0]

    async def cell():
        return reward_function(later)(prompts=["p"], completions=["a"])

    # A notebook has a loop that runs already.
    assert asyncio.run(cell()) == [1.0]


def test_two_sources_of_one_name_are_two_lines_of_the_log():
    logged = {}
    found = reward_function([lambda prompts, **_: [1.0], lambda prompts, **_: [3.0]])
    assert found(prompts=["p"], completions=["a"], log_metric=logged.__setitem__) == [4.0]
    assert logged["rewards/<lambda>/mean"] == 1.0
    assert logged["rewards/<lambda>-2/mean"] == 3.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_one_clear_line(bad):
    def broken(prompts, completions, **columns):
        return [bad for _ in prompts]

    function = reward_function(broken)
    with pytest.raises(ScoringError, match=r"broken gave the reward (nan|inf) for an answer to 'p'; return None"):
        function(prompts=["p"], completions=["a"])


def test_a_wrong_number_of_rewards_is_refused():
    with pytest.raises(ScoringError, match="gave 1 rewards for 2 answers"):
        reward_function(lambda prompts, completions, **columns: [1.0])(prompts=["p", "p"], completions=["a", "b"])


def test_equal_rewards_for_long_are_one_warning(caplog):
    function = reward_function(Lengths())
    for _ in range(BATCHES_WITHOUT_SIGNAL + 3):
        function(prompts=["p", "p", "q", "q"], completions=["ab", "cd", "a", "b"])
    assert sum("nothing to learn from" in record.message for record in caplog.records) == 1
    function(prompts=["p", "p"], completions=["a", "ab"])
    assert function.batches_without_signal == 0


def test_a_server_that_stays_away_is_waited_for_and_then_named(caplog):
    function = reward_function("http://127.0.0.1:9", options=RewardOptions(wait_seconds=0.6))
    with pytest.raises(UnreachableError, match=r"127.0.0.1:9 cannot be reached .* given up after waiting 0.6 s"):
        function(prompts=["p", "p"], completions=["a", "b"])
    assert sum("waiting 0.5 s" in record.message for record in caplog.records) == 1


def test_a_server_that_comes_back_costs_nothing():
    class Flaky(Lengths):
        def score_requests(self, requests):
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries == 1:
                raise UnreachableError("gone")
            return super().score_requests(requests)

    assert reward_function(Flaky())(prompts=["p"], completions=["abc"]) == [3.0]


def test_what_a_source_cannot_do_is_refused_at_once():
    with pytest.raises(ConfigError, match="leave combine and uncertainty out"):
        reward_function(Lengths(), options=RewardOptions(combine="min"))
    with pytest.raises(ConfigError, match="no contract to normalise by"):
        reward_function(Lengths(), options=RewardOptions(normalized=True))
    with pytest.raises(ConfigError, match="weights must be 1"):
        reward_function(Lengths(), weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match="no source of rewards"):
        reward_function(7)
    with pytest.raises(ConfigError, match="one source"):
        reward_function([])


def test_a_policy_of_another_vocabulary_changes_nothing(tmp_path):
    model, tokenizer = tiny_models.llama()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = RewardModel.from_pretrained(str(tmp_path), device="cpu")
    prompts, answers = as_messages(PROMPTS, ANSWERS)
    ids = [tiny_models.qwen_tokenizer()(answer)["input_ids"] for answer in ANSWERS]
    found = reward_function(reward)(prompts=prompts, completions=answers, completion_ids=ids)
    assert found == pytest.approx([reward.score(p, [a])[0] for p, a in zip(prompts, answers, strict=True)], abs=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["GRPO", "RLOO"])
@pytest.mark.parametrize("source", ["folder", "loaded", "function"])
def test_trl_takes_the_saved_folder_the_loaded_model_and_our_function(kind, source, reward_model, tmp_path):
    trl = pytest.importorskip("trl")
    model, tokenizer = tiny_models.qwen2_causal()
    # RLOO reads its reference from the policy's folder.
    model.save_pretrained(tmp_path / "policy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    sources = {
        "folder": lambda: reward_model.name,
        "loaded": lambda: tiny_models.qwen2()[0],
        "function": lambda: reward_function(reward_model),
    }
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=4,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    extra = {"reward_processing_classes": tokenizer} if source == "loaded" else {}
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in ("is maybe", "good")])
    with warnings.catch_warnings():
        trainer = getattr(trl, f"{kind}Trainer")(
            model=model,
            reward_funcs=sources[source](),
            args=config,
            train_dataset=rows,
            processing_class=tokenizer,
            **extra,
        )
        trainer.train()
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert logged
    assert all(map(math.isfinite, logged))
    assert torch.isfinite(next(model.parameters())).all()
