"""`rewardsmith collect serve`: what is refused before anything is served, and what is printed."""

from rewardsmith.cli.main import main
from rewardsmith.collecting.app import run


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


def test_a_server_that_is_open_to_others_prints_a_link_that_opens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDSMITH_COLLECT_SECRET", "s" * 40)
    served = []
    monkeypatch.setattr(run, "serve", lambda collection, address: served.append((collection.close(), address)))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "serve", "--host", "0.0.0.0", "--plain-http"]) == 0
    text = capsys.readouterr().err
    assert "http://127.0.0.1:8001/invite/" in text
    assert "0.0.0.0" not in text
    assert "--public-url" in text
    flags = ["--host", "0.0.0.0", "--behind-proxy", "--public-url", "https://label.example.org"]
    assert main(["collect", "serve", *flags]) == 0
    text = capsys.readouterr().err
    assert "https://label.example.org/invite/" in text
    assert "--public-url" not in text
    assert served[1][1].host == "0.0.0.0"
    assert main(["collect", "serve", "--public-url", "https://label.example.org"]) == 1
    assert "--behind-proxy" in capsys.readouterr().err
