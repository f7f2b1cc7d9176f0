"""The live server of the tests."""

from live_server import reward_model, running, start_server, url

__all__ = ["reward_model", "running", "start_server", "url"]
