"""The name under which the client was documented; it lives in `rewardsmith.clients.client`."""

from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, RewardClient

__all__ = ["AsyncRewardClient", "ClientOptions", "RewardClient"]
