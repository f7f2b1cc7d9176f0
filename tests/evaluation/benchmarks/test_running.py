import json
from types import SimpleNamespace

import pytest
from benchmark_rows import by_number

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation.benchmarks import (
    BenchmarkRun,
    run_benchmark,
)
from rewardsmith.records import Message, as_plain
from rewardsmith.stats.intervals import Resampling

HOW = Resampling(200)


class Recorder:
    """A scorer with a tokenizer, that keeps what it is asked."""

    def __init__(self, template):
        self.name, self.asked = "recorder", []
        self.tokenizer = SimpleNamespace(chat_template=template)

    def score_requests(self, requests):
        self.asked += requests
        return [
            [float(len(as_plain(c)[0]["content"]) if isinstance(c, tuple) else len(c)) for c in r.completions]
            for r in requests
        ]


def test_a_model_with_a_chat_template_is_asked_for_turns_and_one_without_for_texts(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"input": "q", "output_1": "ab", "output_2": "b", "label": 1}]))
    chat, plain = Recorder("template"), Recorder(None)
    scores = [run_benchmark("llmbar", scorer, tmp_path / "rows.json", how=HOW).score.value for scorer in (chat, plain)]
    assert scores == [1, 1]
    assert chat.asked[0].prompt == (Message("user", "q"),)
    assert chat.asked[0].completions[0] == (Message("assistant", "ab"),)
    assert (plain.asked[0].prompt, plain.asked[0].completions[0]) == ("q", "ab")
    forced = Recorder("template")
    run_benchmark("llmbar", forced, tmp_path / "rows.json", run=BenchmarkRun(HOW, chat=False))
    assert forced.asked[0].prompt == "q"


def test_turns_are_written_out_for_a_model_without_a_chat_template(tmp_path):
    task = {"input": "Human: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:", "target_scores": {"ab": 1, "b": 0}}
    (tmp_path / "honest").mkdir()
    (tmp_path / "honest/task.json").write_text(json.dumps({"examples": [task]}))
    chat, plain = Recorder("template"), Recorder(None)
    for scorer in (chat, plain):
        assert run_benchmark("hhh", scorer, tmp_path, how=HOW).score.value == 1
    assert [message.role for message in chat.asked[0].prompt] == ["user", "assistant", "user"]
    assert plain.asked[0].prompt == "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:"
    assert plain.asked[0].completions == (" ab", " b")


def test_what_cannot_be_scored_is_left_out_and_counted_when_asked(tmp_path):
    class Short(Recorder):
        def score_requests(self, requests):
            if any(len(as_plain(c)) > 5 for r in requests for c in r.completions):
                raise ScoringError("request 0, completion 0 has 9 tokens, m reads 5")
            return super().score_requests(requests)

    rows = [{"input": f"q{i}", "output_1": "ab", "output_2": "b" * (9 if i == 2 else 1), "label": 1} for i in range(5)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(ScoringError, match="reads 5"):
        run_benchmark("llmbar", Short(None), tmp_path / "rows.json", how=HOW)
    result = run_benchmark("llmbar", Short(None), tmp_path / "rows.json", run=BenchmarkRun(HOW, leave_out=True))
    assert (result.score.n, result.left_out) == (4, {"longer than the model reads": 1})
    assert [item.group.prompt for item in result.scored] == ["q0", "q1", "q3", "q4"]


def test_every_configuration_of_a_hub_data_set_is_read(monkeypatch):
    import datasets

    def load(name, config, split, revision):
        assert (name, split, revision) == ("owner/name", "test", "v2")
        return [
            {
                "input": config,
                "targets": {"choices": ["a 1", "b 0"], "labels": [int(config == "x"), int(config != "x")]},
            }
        ]

    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name, revision: ["x", "y"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    result = run_benchmark("hhh", by_number, "owner/name@v2", how=HOW)
    assert (result.parts["x"].value, result.parts["y"].value) == (1, 0)


def test_baselines_and_the_blind_scorer_stand_beside_the_score(tmp_path):
    rows = [{"input": "q", "output_1": "longer 2", "output_2": "short 1", "label": 1}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    result = run_benchmark("llmbar", by_number, tmp_path / "rows.json", run=BenchmarkRun(HOW, prompt_blind=True))
    values = {name: value.value for name, value in result.baselines.items()}
    assert values["longest"] == values["first"] == values["prompt_blind"] == 1
    assert values["shortest"] == 0
    assert set(result.to_dict()["score_of_baselines"]) == set(values)


def test_a_wrong_name_and_a_wrong_row_say_what_to_do(run):
    with pytest.raises(ConfigError, match="did you mean 'rm-bench'"):
        run_benchmark("rmbench", by_number, "x")
    with pytest.raises(DataError, match=r"rows.json:row 1: needs 'label'"):
        run("llmbar", [{"input": "q"}])


@pytest.mark.data
def test_real_files_are_read_whole_and_longest_wins_as_published(real_data):
    def longest(prompt, completions):
        return [len(completion) for completion in completions]

    pandalm = run_benchmark("pandalm", longest, real_data / "pandalm/testset-v1.json", how=HOW)
    assert len(pandalm.scored) == 999
    assert pandalm.score.value == pytest.approx(0.67, abs=0.01)
    bias = run_benchmark("eval-bias-bench", longest, real_data / "evalbiasbench/evalbiasbench/biasbench.json", how=HOW)
    assert (len(bias.scored), bias.parts["length bias"].value) == (80, 0.0)
