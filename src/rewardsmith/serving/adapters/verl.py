"""verl: see `rewardsmith.clients.verl`."""

from rewardsmith.clients.verl import compute_score, verl_compute_score

__all__ = ["compute_score", "verl_compute_score"]
