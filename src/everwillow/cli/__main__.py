"""``python -m everwillow.cli`` is the command `everwillow`."""

from everwillow.cli.app import main


main()
