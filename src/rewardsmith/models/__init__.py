"""Models: heads, pooling, shared-prefix computation, rendering, scoring contract, checkpoints."""
