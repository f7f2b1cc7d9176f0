"""The live server of the tests."""

from live_server import clients_python, process, reward_model, running, start_server, url

__all__ = ["clients_python", "process", "reward_model", "running", "start_server", "url"]
