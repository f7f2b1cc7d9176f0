"""Score texts with a trained reward model."""
