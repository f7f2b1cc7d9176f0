"""`rewardsmith rl best-of-n` prints what the best of n bought, with intervals."""

import tiny_models

from rewardsmith.cli.main import main


def test_the_table_has_reward_gold_and_kl(tmp_path, capsys):
    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "policy")
    arguments = [
        "rl",
        "best-of-n",
        str(tmp_path / "policy"),
        "simulator:gold",
        "simulator:6",
        str(tmp_path / "best.jsonl"),
    ]
    assert main([*arguments, "--n", "3", "--max_completion_length", "3", "--gold", "simulator:gold"]) == 0
    printed = capsys.readouterr().out
    assert "best of 3, 6 prompts" in printed
    assert "gold, gain" in printed
    assert "KL from the policy: 0.4319 nats" in printed
