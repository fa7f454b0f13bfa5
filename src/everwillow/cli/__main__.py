"""The command `everwillow` as ``python -m everwillow.cli``."""

from everwillow.cli.app import main


main()
