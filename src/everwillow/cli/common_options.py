"""Options that several groups of commands have."""

from dataclasses import dataclass
from typing import Any

from everwillow.workflows.command_options import option


OUTPUT = "Output"
"""The panel of options on the output, in the help."""


def out_option(help: str, default: Any = None, metavar: str = "FILE") -> Any:
    """Return the option for a file or folder; the default ``...`` requires it."""
    return option(default, help, "--out", "-o", metavar=metavar)


@dataclass(frozen=True)
class TracebackOption:
    """The option of all commands."""

    traceback: bool = option(False, "Show where an error came from.")


@dataclass(frozen=True)
class RowsOption:
    """The option of commands with long tables."""

    everything: bool = option(False, "Show all rows.", "--all", panel=OUTPUT)
