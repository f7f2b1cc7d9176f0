"""`rewardsmith plan` prints the arithmetic and the command, and fails where nothing fits."""

import json

ROWS = [{"prompt": "abcdefgh", "chosen": "ijklmnop", "rejected": "qrst"}] * 2


def test_the_command_prints_the_plan(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    code, out, _ = command("plan", "8B", "rows.jsonl", "--gpus", "8", "--tokens-per-second", "1000")
    assert code == 0
    for text in ("FSDP2", "given by --tokens-per-second", "16 x 7.50e9 / 8", "rewardsmith train --nproc 8"):
        assert text in out
    code, out, _ = command("plan", "70B", "rows.jsonl")
    assert code == 1
    assert "nothing fits" in out
