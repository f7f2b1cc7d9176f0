"""One file per section of the report: plain values in, a `Section` out, or None when the result does not have it."""
