"""The command `everwillow`; needs the extra `cli`."""

# Before anything else: an interrupt during an import makes a traceback otherwise.
from everwillow.cli.interruption import end_on_interrupt, is_command


if is_command():
    end_on_interrupt()

from everwillow.cli.app import main as main


__all__ = ["main"]
