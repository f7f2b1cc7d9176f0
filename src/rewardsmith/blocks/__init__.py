"""One set of blocks, drawn as terminal, HTML page, Markdown card and JSON."""
