"""The output of commands: numbers, tables, messages, exit codes."""
