"""How commands show results: numbers, tables, messages, exit codes."""
