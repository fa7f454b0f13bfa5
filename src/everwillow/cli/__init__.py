"""The command `everwillow`; needs the extra `cli`."""

from everwillow.cli.commands import app as app, main as main


__all__ = ["app", "main"]
