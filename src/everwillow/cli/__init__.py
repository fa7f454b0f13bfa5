"""The command `everwillow`; needs the extra `cli`."""

from everwillow.cli.app import main as main


__all__ = ["main"]
