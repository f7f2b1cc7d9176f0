"""Read and write files: rows of any format, tables, archives, the hub, always whole or not at all."""
