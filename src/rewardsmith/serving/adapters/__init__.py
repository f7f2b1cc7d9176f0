"""The names under which other tools' configs know the adapters; they live in `rewardsmith.clients`.

Import names and file paths both stand in such configs, so each is a file that only hands on.
"""
