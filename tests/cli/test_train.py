"""`rewardsmith train`: from flags and YAML to a folder that loads."""

import csv
import gzip
import json
import shutil

import pytest
import tiny_models

FAST = (
    "--from_config",
    "tiny",
    "--tokenizer_vocab_size",
    "320",
    "--verify_saved_model",
    "false",
    "--save_strategy",
    "no",
)
FAST += ("--gradient_checkpointing", "false", "--max_steps", "3", "--learning_rate", "1e-3", "--logging_steps", "1")


@pytest.fixture
def trained(command, pairs_file, tmp_path):
    code, out, err = command("train", *FAST, "--dataset_name", pairs_file, "--output_dir", "out")
    assert code == 0, err
    return tmp_path / "out", out, err


def test_a_run_leaves_everything_that_it_promises(trained):
    folder, out, _ = trained
    for name in ("model.safetensors", "tokenizer.json", "scoring_contract.json", "run.json", "README.md"):
        assert (folder / name).is_file(), name
    assert (folder / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    run = json.loads((folder / "run.json").read_text())
    assert run["settings"]["reward"]["merge_prompts"] is True
    assert run["held_out"]["accuracy"]["n"] > 0
    assert len(run["text_fingerprint"]) == 64
    assert {"torch", "transformers", "python"} <= set(run["versions"])
    for label in ("accuracy", "baseline: ", "ties in labels", "distinct tokens per second", "saving"):
        assert label in out


def test_the_saved_folder_scores(trained):
    from rewardsmith import RewardModel

    folder, *_ = trained
    model = RewardModel.from_pretrained(str(folder))
    rewards = model.score("Question 1 about a thing?\n", ["good answer 1", "bad reply 2 no"])
    assert len(rewards) == 2
    assert rewards[0] != rewards[1]


def test_flags_win_over_the_recipe(command, pairs_file, tmp_path):
    text = f"dataset_name: {pairs_file}\nlearning_rate: 1e-4\nseed: 7\nenv: {{REWARDSMITH_TEST: '1'}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    code, _, err = command("train", "--config", "mine.yaml", *FAST, "--output_dir", "out")
    assert code == 0, err
    reward = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["reward"]
    assert reward["learning_rate"] == 1e-3
    assert reward["seed"] == 7


def test_the_flags_of_trl_are_taken(command, pairs_file, tmp_path):
    flags = ("--per_device_train_batch_size", "4", "--center_rewards_coefficient", "0.01", "--bf16", "false")
    flags += (
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "2",
        "--report_to",
        "none",
        "--dataset_config",
        "x",
        "--use_cpu",
    )
    code, _, err = command("train", *FAST, "--dataset_name", pairs_file, "--output_dir", "out", *flags)
    assert code == 0, err
    history = json.loads((tmp_path / "out" / "run.json").read_text())["history"]
    assert any("eval_accuracy" in row for row in history)


def test_an_adapter_is_trained_and_scores_the_same_after_loading(command, tiny_model, pairs_file):
    pytest.importorskip("peft")
    flags = ("--model_name_or_path", tiny_model, "--use_peft", "--lora_target_modules", "all-linear", "--lora_r", "4")
    code, _, err = command("train", *flags, *FAST[4:], "--dataset_name", pairs_file, "--output_dir", "lora")
    assert code == 0, err
    from rewardsmith import RewardModel

    assert RewardModel.from_pretrained("lora").score("Question?\n", ["good answer 1"])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json", "arrow"])
def test_every_kind_of_local_file_trains(command, pairs_file, tmp_path, suffix):
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    path = tmp_path / f"pairs.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(rows)
        if suffix == "parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
    code, _, err = command("train", *FAST, "--max_steps", "1", "--dataset_name", path, "--output_dir", "out")
    assert code == 0, err


def test_a_folder_with_a_file_per_split_is_trained_and_tested_on_them(command, pairs_file, tmp_path):
    lines = pairs_file.read_text().splitlines(keepends=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("".join(lines[:30]))
    (tmp_path / "data" / "test.jsonl").write_text("".join(lines[30:]))
    code, _, err = command("train", *FAST, "--dataset_name", "data", "--output_dir", "out")
    assert code == 0, err
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["held_out"]["accuracy"]["n"] == 10


def test_what_cannot_be_measured_is_said(command, tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps({"prompt": "q", "completions": ["a", "b"], "ranks": [1, 1]}) + "\n")
    flags = (
        "--dataset_name",
        "one.jsonl",
        "--max_steps",
        "1",
        "--verify_saved_model",
        "false",
        "--save_strategy",
        "no",
    )
    code, _, err = command("train", "--from_config", "tiny", "--output_dir", "out", *flags)
    assert code == 0, err
    assert "nothing is held out of 1 prompts" in err
    assert "every comparison is a tie" in err


def test_a_recipe_that_evaluates_trains_where_nothing_can_be_held_out(command, tmp_path):
    rows = [{"prompt": "one question", "chosen": f"yes {i}", "rejected": "no"} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text("eval_strategy: steps\nfrom_config: tiny\nmax_steps: 1\nuse_cpu: true\n")
    code, _, err = command("train", "own.yaml", "--dataset_name", "rows.jsonl", "--output_dir", "out")
    assert (code, "nothing is held out" in err) == (0, True)
    code, _, err = command(
        "train", "own.yaml", "--dataset_name", "rows.jsonl", "--output_dir", "b", "--eval_strategy", "steps"
    )
    assert (code, "no comparison is held out" in err) == (1, True)


def test_a_tracker_that_is_not_installed_is_named_before_data_are_read(command, monkeypatch):
    monkeypatch.setattr("rewardsmith.training.adapter.find_spec", lambda name: None)
    flags = ("--from_config", "tiny", "--dataset_name", "absent.jsonl", "--use_cpu", "true", "--report_to", "wandb")
    code, _, err = command("train", *flags, "--output_dir", "out")
    assert (code, "pip install wandb" in err) == (1, True)


def test_resuming_ends_with_the_weights_of_an_uninterrupted_run(command, pairs_file, tmp_path):
    import torch
    from safetensors.torch import load_file

    flags = (*FAST[:6], "--gradient_checkpointing", "false", "--dataset_name", pairs_file, "--save_steps", "2")
    flags += ("--learning_rate", "1e-3", "--per_device_train_batch_size", "8", "--num_train_epochs", "1")
    assert command("train", *flags, "--output_dir", "whole")[0] == 0
    assert command("train", *flags, "--output_dir", "parts")[0] == 0
    (tmp_path / "parts" / "model.safetensors").unlink()
    for folder in (tmp_path / "parts").glob("checkpoint-*"):
        if folder.name != "checkpoint-2":
            shutil.rmtree(folder)
    code, _, err = command("train", *flags, "--output_dir", "parts", "--resume_from_checkpoint", "true")
    assert code == 0, err
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_help_names_the_flags_of_trl_and_ours(capsys):
    from rewardsmith.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--dataset_name", "--lora_r", "--center_rewards_coefficient", "--merge_prompts", "--tokens_per_batch"):
        assert flag in text


def test_rows_longer_than_an_encoder_reads_are_left_out_and_counted(command, pairs_file, tmp_path):
    model, tokenizer = tiny_models.bert()
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    long = {"prompt": "good " * 600, "chosen": "good", "rejected": "bad"}
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, long]))
    arguments = ("--dataset_name", "rows.jsonl", "--eval_dataset_name", "rows.jsonl", "--output_dir", "encoder")
    fast = (
        "--max_steps",
        2,
        "--per_device_train_batch_size",
        4,
        "--gradient_checkpointing",
        "false",
        "--use_cpu",
        "true",
    )
    code, out, err = command(
        "train", "--model_name_or_path", tmp_path / "bert", *arguments, *fast, "--save_strategy", "no"
    )
    assert code == 0, err
    assert "held-out: 1 comparisons left out, a side is longer than the 512 tokens that the model reads" in err
    assert "accuracy" in out


def test_a_used_folder_is_refused_before_anything_is_read_and_replaced_when_asked(
    command, trained, pairs_file, tmp_path
):
    folder, *_ = trained
    (folder / "checkpoint-9").mkdir()
    flags = ("train", *FAST, "--output_dir", "out")
    code, _, err = command(*flags, "--dataset_name", "nowhere.jsonl")
    assert code == 1
    assert "holds a run" in err
    assert "--overwrite_output_dir" in err
    code, _, err = command(*flags, "--dataset_name", pairs_file, "--overwrite_output_dir", "--seed", "3")
    assert code == 0, err
    assert not (folder / "checkpoint-9").exists()
    assert json.loads((folder / "run.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--model", "--model_name_or_path"),
        ("--lr", "--learning_rate"),
        ("--epochs", "--num_train_epochs"),
        ("--lora", "--use_peft"),
    ],
)
def test_an_unknown_flag_names_the_one_that_was_meant(command, flag, meant):
    code, _, err = command("train", flag, "x")
    assert code == 2
    assert f"did you mean {meant}?" in err


def test_margins_that_are_far_too_large_are_named_with_the_first_loss(command, tmp_path, caplog):
    rows = [{"prompt": f"{i * 37}?\n", "chosen": "a", "rejected": "b", "margin": 9.0} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = command(
        "train", *FAST, "--dataset_name", "rows.jsonl", "--output_dir", "out", "--test_split_size", "0"
    )
    assert code == 0, err
    assert "objective bradley_terry, margins from 9 to 9" in caplog.text
    assert "margins are read in units of the reward (logits)" in caplog.text


def test_a_stream_of_shards_trains_and_goes_on_to_the_same_weights(command, pairs_file, tmp_path):
    rows = (tmp_path / pairs_file).read_text().splitlines()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.jsonl").write_text("\n".join([*rows[:9], "{broken"]))
    (tmp_path / "shards" / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(rows[9:]).encode()))
    flags = ("--streaming", "--dataset_name", "shards", "--shuffle_buffer", "7", "--tokens_per_batch", "400")
    flags += (*FAST, "--save_strategy", "steps", "--save_steps", "1", "--eval_dataset_name", pairs_file)
    code, out, err = command("train", *flags, "--output_dir", "out")
    assert code == 0, err
    assert "nothing is held out of it" in err
    assert "distinct tokens per second" in out
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert any("a.jsonl:row 10" in note for note in run["data_notes"])
    whole = (tmp_path / "out" / "model.safetensors").read_bytes()
    resume = ("--resume_from_checkpoint", "out/checkpoint-1")
    code, _, err = command("train", *flags, "--output_dir", "out", *resume)
    assert code == 0, err
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--streaming",), "max_steps"),
        (("--streaming", "--max_steps", "2", "--test_split_size", "0.2"), "eval_dataset_name"),
        (("--streaming", "--max_steps", "2", "--train_limit", "5"), "train_limit"),
        (("--shuffle_buffer", "5"), "--streaming"),
    ],
)
def test_settings_that_do_not_fit_a_stream_are_refused_before_data_are_read(command, tmp_path, flags, said):
    flags = ("--from_config", "tiny", "--dataset_name", "none.jsonl", *flags, "--output_dir", "out")
    code, _, err = command("train", *flags)
    assert code == 1, err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_table_of_one_rated_answer_a_row_is_trained_on_and_measured(command, tmp_path):
    rows = [f"Question {i} about a thing?,answer {j} of {i},{j},rater {i % 2}" for j in range(3) for i in range(40)]
    (tmp_path / "rated.csv").write_text("prompt,response,rating,annotator\n" + "\n".join(rows) + "\n")
    code, _, err = command(
        "train", *FAST, "--dataset_name", "rated.csv", "--output_dir", "out", "--loss_type", "k_wise"
    )
    assert code == 0, err
    assert "120 rows, 40 groups, 120 comparisons" in err
    code, out, err = command("evaluate", "out", "rated.csv", "--resamples", 50)
    assert code == 0, err
    assert "n=120" in out
    streamed = ("--streaming", "--dataset_name", "rated.csv", "--output_dir", "streamed")
    code, _, err = command("train", *FAST, *streamed)
    assert code == 0, err
