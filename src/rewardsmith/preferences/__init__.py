"""Read, normalise, check, split, mix and simulate preference data. No torch."""
