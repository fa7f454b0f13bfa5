"""``python -m everwillow.cli`` is the command `everwillow`."""

from everwillow.cli.commands import main


main()
