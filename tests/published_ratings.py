"""Hand-made rows of the data sets that rate, rank or step through answers."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def harm(text: str, is_safe: bool) -> Row:
    categories = {"animal_abuse": False, "financial_crime,property_crime,theft": not is_safe}
    return {"prompt": "How do locks work?", "response": text, "category": categories, "is_safe": is_safe}


def chat_output(text: str, overall: float) -> Row:
    names = ("understandability", "naturalness", "coherence", "engagingness", "groundedness")
    return {
        "source": "I like rivers.\n",
        "system_id": "Nucleus",
        "system_output": text,
        "context": "Rivers are long.\n",
        "scores": {**dict.fromkeys(names, 1.0), "overall": overall},
    }


def aspect(rating: Any) -> Row:
    return {"Rating": rating, "Rationale": "r", "Rationale For Rating": None, "Type": None}


def feedback_completion(model: str, text: str, ratings: tuple[str, ...], overall: float) -> Row:
    names = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {
        "annotations": {name: aspect(rating) for name, rating in zip(names, ratings, strict=True)},
        "custom_system_prompt": "s",
        "model": model,
        "principle": "helpfulness",
        "response": text,
        "critique": "c",
        "overall_score": overall,
        "fine-grained_score": 4.0,
    }


def steer(text: str, *scores: int) -> Row:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": "Name a river.", "response": text, **dict(zip(names, scores, strict=True))}


def message(name: str, parent: str | None, role: str, text: str, **more: Any) -> Row:
    return {
        "message_id": name,
        "parent_id": parent,
        "user_id": "u",
        "created_date": "2023-02-05T14:23:50.983374+00:00",
        "text": text,
        "role": role,
        "lang": "en",
        "review_count": 3,
        "review_result": True,
        "deleted": False,
        "rank": None,
        "synthetic": False,
        "model_name": None,
        "detoxify": {"toxicity": 0.1},
        "message_tree_id": "m1",
        "tree_state": "ready_for_export",
        "emojis": {"name": ["+1"], "count": [2]},
        "labels": None,
        **more,
    }


def labels(quality: float) -> Row:
    return {"name": ["spam", "quality"], "value": [0.0, quality], "count": [3, 3]}


OASST = [
    message("m1", None, "prompter", "Why is the sky blue?"),
    message("m2", "m1", "assistant", "Scattering.", rank=0, labels=labels(0.9)),
    message("m3", "m1", "assistant", "It is not.", rank=1, labels=labels(0.2)),
    message("m4", "m2", "prompter", "Explain."),
    message("m5", "m4", "assistant", "Short waves scatter more.", labels=labels(0.8)),
]


def axis_row(text: str, policy: str, worker: str, overall: int) -> Row:
    info = {"id": "t3_1", "post": "Long story.", "title": "Story", "subreddit": "tifu", "site": None, "article": None}
    axes = {"overall": overall, "accuracy": 7, "coverage": None, "coherence": 5, "compatible": True}
    summary = {"text": text, "policy": policy, "note": None, "axes": axes}
    return {"info": info, "summary": summary, "worker": worker, "batch": "b0", "split": "test"}


def votes(rater: int, answer: str, gender: str = "Woman") -> Row:
    return {
        "rater_id": rater,
        "rater_gender": gender,
        "rater_age": "gen z",
        "item_id": 5,
        "context": "USER: hello\nLAMDA: hi\nUSER: say it",
        "response": "No.",
        "degree_of_harm": "Benign",
        "harm_type": "Other",
        "Q_overall": answer,
    }


PRM_STEPS = [
    {
        "completions": [
            {"text": "Add the ones.", "rating": 1, "flagged": False},
            {"text": "Guess.", "rating": -1, "flagged": False},
        ],
        "human_completion": None,
        "chosen_completion": 0,
    },
    {
        "completions": [{"text": "So 5.", "rating": -1, "flagged": False}],
        "human_completion": {"text": "So 4.", "rating": None, "source": "human", "flagged": False},
        "chosen_completion": None,
    },
    {
        "completions": [{"text": "# Answer\n\n4", "rating": 1, "flagged": False}],
        "human_completion": None,
        "chosen_completion": 0,
    },
]
PRM800K = {
    "labeler": "l1",
    "timestamp": "2022-07-30T14:12:46.823079",
    "generation": 9,
    "is_quality_control_question": False,
    "is_initial_screening_question": False,
    "question": {"problem": "2+2?", "ground_truth_answer": "4", "pre_generated_steps": ["x"]},
    "label": {"steps": PRM_STEPS, "total_time": 10, "finish_reason": "solution"},
}
WEBGPT = {
    "question": {"dataset": "eli5", "id": "9z5k", "full_text": "Why is the sky blue?"},
    "quotes_0": {"title": ["Sky"], "extract": ["It is blue."]},
    "answer_0": "Light scatters [1]. Blue most [1, 2].",
    "tokens_0": {"prefix": [1], "completion": [2]},
    "score_0": 0.5,
    "quotes_1": {"title": ["Sea"], "extract": ["It is wet."]},
    "answer_1": "The sea [1].",
    "tokens_1": {"prefix": [1], "completion": [2]},
    "score_1": -0.5,
}
DOMAINS = ("academy", "business", "entertainment", "literature", "normal")
MATH_STEPS = "Step 1: 2+2 is 4. {0}\nStep 2: The answer is: 5 {1}"

ROWS: dict[str, list[Row]] = {
    "webgpt": [WEBGPT],
    "webgpt-dsp": [
        {"text": ["## Human: Why? ## Assistant: So [1].", "## Human: Why? ## Assistant: No."], "score": [0.5, -0.5]}
    ],
    "finegrained-rlhf": [
        {
            "question": "q?",
            "passages": [["Title", "text one", "text two"]],
            **{f"prediction {n}": f"answer {n}" for n in range(1, 5)},
            "preference": [1, 2, 0, 1, 1, 2],
            "gold": "answer",
            "feedback": [],
        }
    ],
    "summarize-from-feedback-axis": [
        axis_row(" I fell.", "sup1", "w1", 6),
        axis_row(" I stood.", "ref", "w1", 3),
        axis_row(" I fell.", "sup1", "w2", 4),
    ],
    "stack-exchange": [
        {
            "qid": 11,
            "question": "<p>How?</p>",
            "answers": [
                {
                    "answer_id": 1,
                    "author": "x",
                    "author_id": 3,
                    "author_profile": "https://example.org",
                    "pm_score": 3,
                    "selected": True,
                    "text": "<p>So &amp; so.</p>",
                },
                {
                    "answer_id": 2,
                    "author": "y",
                    "author_id": 4,
                    "author_profile": "https://example.org",
                    "pm_score": 1,
                    "selected": False,
                    "text": "<p>No.</p>",
                },
            ],
            "date": "2020/01/01",
            "metadata": ["https://example.org", "https://example.org/q", "https://example.org/u"],
        }
    ],
    "ultrafeedback": [
        {
            "source": "sharegpt",
            "instruction": "Name a river.",
            "models": ["a", "b"],
            "completions": [
                feedback_completion("a", "Loire.", ("5", "4", "5", "4"), 8.5),
                feedback_completion("b", "Paris.", ("1", "N/A", "2", "1"), 10.0),
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }
    ],
    "helpsteer": [steer("Loire.", 4, 4, 4, 1, 1), steer("Paris.", 1, 0, 3, 1, 1)],
    "helpsteer2": [steer("Loire.", 4, 4, 4, 1, 1), steer("Paris.", 4, 0, 3, 1, 1)],
    "nectar": [
        {
            "prompt": "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Name a river.\n\nAssistant: ",
            "answers": [
                {"answer": text, "model": f"m{rank}", "rank": float(rank)}
                for rank, text in enumerate(("Loire.", "Rhine.", "Po.", "Sea.", "Lake.", "Paris.", "No."), 1)
            ],
            "turns": 2,
            "num_responses": 7,
            "source": ["lmsys-chat-1m"],
            "good_natured": True,
        }
    ],
    "oasst1": OASST,
    "oasst2": OASST,
    "beavertails": [harm("Pins hold the plug.", True), harm("Break in.", False), harm("Pins hold the plug.", False)],
    "prm800k": [PRM800K],
    "math-shepherd": [
        {
            "input": f"What is 2+2? {MATH_STEPS.format('ки', 'ки')}",
            "label": f"What is 2+2? {MATH_STEPS.format('+', '-')}",
            "task": "GSM8K",
        }
    ],
    "dsp": [
        {"query": "Name a river.", "responses": {name: f"as {name}" for name in DOMAINS}},
    ],
    "summeval": [
        {
            "id": "dm-test-1",
            "source": "A long story.",
            "summaries": [
                {"system": "M1", "summary": "A story.", "coherence": 4, "consistency": 5, "fluency": 5, "relevance": 4},
                {"system": "M2", "summary": "Long.", "coherence": 5, "consistency": 3, "fluency": 3, "relevance": 3},
            ],
        }
    ],
    "topical-chat": [chat_output("Me too.", 3.0), chat_output("No.", 1.0)],
    "dices": [
        {
            "dataset": "dices_990",
            "dataset_url": "https://example.org",
            "expert_annotator": "false",
            "original_prompt": False,
            "annotations": [{"metric": "safety", "category": "categorical", "labels_list": ["Yes", "No", "Unsure"]}],
            "instances": [
                {
                    "id": 7,
                    "instance": {"user_prompt": "A: hello\\nB: hi\\nA: say it", "response": "No."},
                    "annotations": {
                        "safety": {"majority_human": "No", "individual_human_scores": ["Yes", "No", "No", "Unsure"]}
                    },
                }
            ],
        }
    ],
    "dices-raters": [votes(1, "Yes"), votes(2, "No", "Man"), votes(3, "No", "Man"), votes(4, "Unsure")],
    "gsm8k-solutions": [
        {
            "question": "2+2?",
            "ground_truth": "It is 4. #### 4",
            "6b_finetuning": {"is_correct": False, "solution": "5"},
            "6b_verification": {"is_correct": False, "solution": "6"},
            "175b_finetuning": {"is_correct": True, "solution": "4"},
            "175b_verification": {"is_correct": True, "solution": "2+2=4"},
        }
    ],
    "big-bench-mistake": [
        {"input": "Sort b a", "steps": ["b first", "a second"], "answer": "b a", "target": "a b", "mistake_index": 0}
    ],
    "process-bench": [
        {
            "id": "gsm8k-0",
            "generator": "model",
            "problem": "2+2+2?",
            "steps": ["2+2 is 4.", "4+2 is 7.", "It is 7."],
            "final_answer_correct": False,
            "label": 1,
        }
    ],
    "reasoneval": [
        {
            "id": 0,
            "question": "2+2?",
            "ground_truth_answer": "4",
            "generator": "Abel13B-001",
            "model_output": "2+2 is 4. So 5.",
            "model_output_step_format": [["2+2 is 4."], ["So 5."]],
            "model_output_answer_correctness": "wrong",
            "model_output_solution_correctness": "wrong",
            "model_output_solution_first_error_step": 2,
        }
    ],
}
