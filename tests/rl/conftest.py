"""The live server and the local hub of the tests."""

from live_server import reward_model, running, start_server, url
from local_hub import hub

__all__ = ["hub", "reward_model", "running", "start_server", "url"]
