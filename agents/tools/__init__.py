"""One file a tool, or a table of near ones."""
