"""Row layouts of other tools, one small file a tool: `read_row` and, where it can be written, `write_rows`."""
