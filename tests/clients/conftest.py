"""The live server of the tests."""

from live_server import clients_python, reward_model, start_server, url

__all__ = ["clients_python", "reward_model", "start_server", "url"]
