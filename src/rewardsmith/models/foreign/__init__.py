"""Reward models of other tools: one small file a layout, each told by its config and the names of its weights."""
