"""A reward model over HTTP, in the protocols that other tools already speak, and a client for it."""
