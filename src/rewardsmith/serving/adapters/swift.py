"""ms-swift: see `rewardsmith.clients.swift`."""

from rewardsmith.clients.swift import SwiftReward

__all__ = ["SwiftReward"]
