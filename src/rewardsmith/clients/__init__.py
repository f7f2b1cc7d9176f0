"""Ready reward functions for RL trainers, one file a trainer; each takes a server's address or a scorer."""
