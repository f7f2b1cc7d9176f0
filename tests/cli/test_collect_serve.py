"""`rewardsmith collect serve`: what is refused before anything is served."""

from rewardsmith.cli.main import main


def test_a_port_that_is_none_is_refused_before_anything_is_served(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "serve", "--port", "99999"]) == 1
    assert "--port is 99999" in capsys.readouterr().err


def test_one_endpoint_makes_no_arena_and_a_key_wants_its_certificate(capsys):
    assert main(["collect", "serve", "--endpoint", "one=http://127.0.0.1:9/v1"]) == 1
    assert "an arena needs two or more endpoints" in capsys.readouterr().err
    assert main(["collect", "serve", "--key", "key.pem"]) == 1
    assert "--certificate and --key belong together" in capsys.readouterr().err
