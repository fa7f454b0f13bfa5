"""The command `everwillow`; needs the extra `cli`."""

from everwillow.cli.main import app as app


__all__ = ["app"]
