"""Every distinct token once: which models share a prefix, how tokens are laid out, and the forward pass."""
