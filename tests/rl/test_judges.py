import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny_models
from datasets import Dataset

from rewardsmith.clients.chat import ChatModel, ChatOptions
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError
from rewardsmith.records import ScoreRequest, TokenIds, as_text
from rewardsmith.rl.judges import ChatComparer, Criterion, GroupJudge, RubricJudge, transcript
from rewardsmith.rl.rewards import reward_function

QUALITY = {"bad": 0.0, "fair": 1.0, "good": 2.0, "great": 3.0}
REQUEST = ScoreRequest("q", ("fair", "great", "bad", "good"))


@contextmanager
def stub(reply):
    """A server of the protocol whose model answers `reply(question)`; gives its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({"path": self.path, "key": self.headers["authorization"], **body})
            status, text = 200, reply(body["messages"][-1]["content"])
            if isinstance(text, int):
                status, text = text, "busy"
            content = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sides(question):
    first, second = question.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
    return QUALITY[first], QUALITY[second]


def fair_judge(question):
    one, other = sides(question)
    return "I think [[B]] at first, but [[C]]" if one == other else f"so [[{'A' if one > other else 'B'}]]"


def judge(url, **options):
    return GroupJudge(ChatComparer(ChatModel(url + "/v1", "j", "key", ChatOptions(max_attempts=1))), **options)


def test_a_tournament_orders_answers_and_asks_each_pair_in_both_orders_once():
    with stub(fair_judge) as (url, asked):
        group = judge(url)
        [ratings] = group.score_requests([REQUEST])
        again = group.score_requests([REQUEST])
    assert sorted(QUALITY, key=lambda text: ratings[REQUEST.completions.index(text)]) == list(QUALITY)
    assert sum(ratings) == pytest.approx(0)
    assert again == [ratings]
    assert len(asked) == 12
    assert {(one["path"], one["key"], one["model"]) for one in asked} == {("/v1/chat/completions", "Bearer key", "j")}
    assert group.counts["asked"] == 12


def test_two_answers_have_the_rating_of_one_win_and_half_a_tie():
    with stub(fair_judge) as (url, _):
        [ratings] = judge(url).score_requests([ScoreRequest("q", ("good", "bad"))])
    assert ratings[0] - ratings[1] == pytest.approx(math.log(1.25 / 0.25), abs=0.02)


def test_a_judge_that_always_prefers_the_first_gives_ties():
    with stub(lambda question: "[[A]]") as (url, _):
        group = judge(url)
        assert group.score_requests([REQUEST])[0] == pytest.approx([0.0] * 4)
    assert group.counts["order_disagreements"] == 6
    assert group.counts["ties"] == 6


def test_equal_texts_tie_without_a_question():
    with stub(fair_judge) as (url, asked):
        [ratings] = judge(url).score_requests([ScoreRequest("q", ("good", "good", "bad"))])
    assert ratings[0] == ratings[1] > ratings[2]
    assert len(asked) == 2


def test_a_verdict_that_cannot_be_read_is_counted_and_the_other_order_counts():
    def half(question):
        one, other = sides(question)
        return "[[B]]" if one < other else "no idea"

    with stub(half) as (url, _):
        group = judge(url)
        [ratings] = group.score_requests([REQUEST])
    assert ratings[1] == max(ratings)
    assert group.counts["parse_errors"] == 6


def test_a_group_without_any_verdict_gets_no_reward_and_no_plausible_number():
    with stub(lambda question: "no idea") as (url, _):
        logged = {}
        function = reward_function(judge(url))
        found = function(prompts=["q", "q"], completions=["good", "bad"], log_metric=logged.__setitem__)
    assert found == [None, None]
    assert logged["rewards/judge(j)/parse_errors"] == 2
    assert logged["rewards/judge(j)/not_scored"] == 1


def test_a_sampled_tournament_asks_fewer():
    with stub(fair_judge) as (url, asked):
        [ratings] = judge(url, matches=2).score_requests([REQUEST])
    assert ratings[1] > ratings[2]
    assert len(asked) == 8


def test_a_question_that_fails_costs_its_answers_alone_and_is_counted(caplog):
    with stub(lambda question: 400 if "bad" in question else fair_judge(question)) as (url, asked):
        group = judge(url)
        found = reward_function(group)(prompts=["q"] * 4, completions=list(REQUEST.completions))
    assert found[2] is None
    assert found[1] > found[3] > found[0]
    assert (group.counts["asked"], group.counts["failed"], len(asked)) == (6, 6, 12)
    assert "answered 400 after 1 attempts" in caplog.text
    assert "two or more" not in caplog.text


def test_a_judge_that_refuses_everything_ends_a_run_with_its_own_words():
    with stub(lambda question: 401) as (url, _), pytest.raises(ScoringError, match=r"none of the first 8 .* 401"):
        # Equal answers tie without a question, which makes no reward of a judge that says nothing.
        reward_function(judge(url))(prompts=["q"] * 8, completions=["good", "good", "bad", "fair"] * 2)


def test_verdicts_that_were_given_are_kept_when_the_server_goes():
    with stub(lambda question: 503 if "great" in question else fair_judge(question)) as (url, asked):
        group = judge(url)
        for count in (12, 18):
            with pytest.raises(UnreachableError, match="503"):
                group.judge([REQUEST])
            assert len(asked) == count


def test_a_sampled_tournament_is_the_same_in_every_process_whatever_came_before():
    with stub(fair_judge) as (url, _):
        one, other = judge(url, matches=2), judge(url, matches=2)
        one.score_requests([ScoreRequest("p", ("good", "bad", "fair"))])
        assert one.score_requests([REQUEST]) == other.score_requests([REQUEST])


def test_a_judge_reads_turns_and_calls_of_tools():
    call = {"type": "function", "function": {"name": "look", "arguments": {"x": 1}}}
    said = [{"role": "assistant", "content": "", "tool_calls": [call]}]
    asked = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    with stub(lambda question: "[[A]]") as (url, bodies):
        judge(url).judge([ScoreRequest(as_text(asked), (as_text(said), as_text("plain")))])
    text = bodies[0]["messages"][0]["content"]
    assert "[Prompt]\nsystem: S\n\nuser: U\n\n" in text
    assert '"name": "look"' in text
    assert transcript(as_text(asked[1:])) == "U"
    with pytest.raises(ScoringError, match="not token ids"):
        transcript(TokenIds((1, 2)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (2.0, "gave 2; a comparer gives the probability"),
        (math.nan, "gave nan"),
        ("A", "failed: ValueError"),
        (None, ""),
    ],
)
def test_what_is_no_probability_is_no_verdict(given, said, caplog):
    class Odd:
        name = "odd"

        def compare(self, prompt, first, second):
            return given

    assert reward_function(Odd())(prompts=["q"] * 2, completions=["a", "b"]) == [None, None]
    assert said in caplog.text


def test_any_comparer_serves():
    class Longer:
        name = "longer"

        def compare(self, prompt, first, second):
            return 0.5 + 0.5 * (len(first) > len(second)) - 0.5 * (len(first) < len(second))

    assert reward_function(GroupJudge(Longer()))(prompts=["q"] * 3, completions=["a", "abc", "ab"]) == pytest.approx(
        [-1.1, 1.1, 0.0], abs=0.3
    )


def test_one_answer_alone_and_no_match_are_refused():
    with pytest.raises(ConfigError, match="matches must be 1 or more"):
        GroupJudge(ChatComparer(ChatModel("http://127.0.0.1:9", "j")), matches=0)
    with pytest.raises(ScoringError, match="two or more"):
        judge("http://127.0.0.1:9").score_requests([ScoreRequest("q", ("a",))])


def test_a_rubric_is_the_weighted_mean_of_its_verdicts():
    rubric = [Criterion("clear", "Is it clear?", 3.0), Criterion("depth", "How deep?", 1.0, 4)]

    def reply(question):
        assert "depth: How deep? (0 to 4)" in question
        return "Well.\n- **clear**: yes\ndepth: 2" if "good" in question else "clear: no\nDEPTH = 4"

    with stub(reply) as (url, asked):
        scorer = RubricJudge(ChatModel(url, "j"), rubric)
        assert scorer.score_requests([ScoreRequest("q", ("good", "bad", "good"))]) == [[0.875, 0.25, 0.875]]
    assert len(asked) == 2


@pytest.mark.parametrize("text", ["clear: maybe", "depth: 3", "clear: yes\ndepth: 9", ""])
def test_a_rubric_with_a_verdict_missing_gives_no_reward(text):
    rubric = [Criterion("clear", "?"), Criterion("depth", "?", scale=4)]
    with stub(lambda question: text if "odd" in question else "clear: yes\ndepth: 4") as (url, asked):
        scorer = RubricJudge(ChatModel(url, "j"), rubric)
        assert reward_function(scorer)(prompts=["q", "q"], completions=["odd", "fine"]) == [None, 1.0]
    assert scorer.counts == {"asked": 2, "parse_errors": 1}
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("line", "value"),
    [("7/10", 0.7), ("1,5", 0.15), (".5", 0.05), ("**4**", 0.4), ("-2", None), ("\u22122", None), ("0 to 10", None),
     ("11", None), ("1,000", None), ("yes", None), ("", None)],
)  # fmt: skip
def test_a_number_is_read_as_it_is_written_or_not_at_all(line, value):
    criterion = Criterion("depth", "?", scale=10)
    assert criterion.read(f"depth: {line}\n2. style: 3") == value
    assert Criterion("style", "?", scale=10).read(f"depth: {line}\n2. style: 3") == 0.3


@pytest.mark.parametrize(
    ("text", "value"),
    [("| clear | yes |", 1.0), ("1) clear - No.", 0.0), ("clear: yes or no", None), ("clear: yes/no", None),
     ("clear: not sure", None), ("clear\u2014yes", 1.0), ("unclear: yes", None)],
)  # fmt: skip
def test_a_verdict_is_no_echo_of_the_question(text, value):
    assert Criterion("clear", "?").read(text) == value


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"scale": -1}, {"weight": math.nan}, {"name": ""}, {"name": "a\nb"}])
def test_a_criterion_that_nothing_could_answer_is_refused(wrong):
    with pytest.raises(ConfigError, match="criterion"):
        Criterion(**({"name": "x", "question": "?"} | wrong))


def test_questions_without_a_place_and_odd_comparers_are_refused():
    chat = ChatModel("http://127.0.0.1:9", "j")
    with pytest.raises(ConfigError, match=r"must hold \{first\}"):
        ChatComparer(chat, "{prompt} or {second}?")
    with pytest.raises(ConfigError, match=r"must hold \{answer\}"):
        RubricJudge(chat, [Criterion("a", "?")], "{criteria} {prompt}")
    with pytest.raises(ConfigError, match="is no comparer; it needs name and compare"):
        GroupJudge(object())


def test_a_busy_judge_is_an_unreachable_one_and_braces_in_answers_stay():
    with stub(lambda question: 503) as (url, _), pytest.raises(UnreachableError, match="answered 503"):
        judge(url).score_requests([REQUEST])
    with stub(lambda question: "[[A]]" if "{first}" in question else "[[C]]") as (url, _):
        assert ChatComparer(ChatModel(url, "j")).compare("q", "{first}", "{second}") == 0.5


def test_rubrics_without_names_or_weights_are_refused():
    with pytest.raises(ConfigError, match="different names"):
        RubricJudge(ChatModel("http://127.0.0.1:9", "j"), [Criterion("a", "?"), Criterion("a", "?")])


class Longer:
    """A comparer that prefers the longer answer, and keeps what it was asked."""

    name = "longer"

    def __init__(self):
        self.asked = []

    def compare(self, prompt, first, second):
        self.asked.append(prompt)
        sizes = [len(plain_text(answer)) for answer in (first, second)]
        return 0.5 if sizes[0] == sizes[1] else float(sizes[0] > sizes[1])


@pytest.mark.filterwarnings("ignore")
def test_a_comparer_judges_the_pairs_of_online_dpo(tmp_path):
    """TRL took its judges out; a comparer goes in as a reward function."""
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    model, tokenizer = tiny_models.qwen2_causal()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "policy")
    model = type(model).from_pretrained(tmp_path / "policy")
    settings = {"per_device_train_batch_size": 2, "max_new_tokens": 4, "max_steps": 1, "use_cpu": True, "bf16": False}
    settings |= {"report_to": "none", "save_strategy": "no", "logging_steps": 1}
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("is it good", "is it bad")]
    comparer = Longer()
    trainer = OnlineDPOTrainer(
        model=model,
        reward_funcs=reward_function(GroupJudge(comparer)),
        args=OnlineDPOConfig(output_dir=str(tmp_path), **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    assert comparer.asked
    [logged] = [row for row in trainer.state.log_history if "loss" in row]
    assert math.isfinite(logged["loss"])


def test_a_criterion_of_weight_0_that_is_not_answered_costs_no_reward():
    rubric = [Criterion("true", "?", 2.0), Criterion("rude", "?", -1.0), Criterion("looked at", "?", 0.0)]
    with stub(lambda question: "true: yes\nrude: no" + ("\nlooked at: yes" if "good" in question else "")) as (url, _):
        scorer = RubricJudge(ChatModel(url, "j"), rubric)
        assert scorer.score_requests([ScoreRequest("q", ("good", "bad"))]) == [[2 / 3, 2 / 3]]
    assert scorer.counts == {"asked": 2, "parse_errors": 1}
