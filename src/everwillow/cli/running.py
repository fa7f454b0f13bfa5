"""The call of the module of a command."""

import importlib
from collections.abc import Mapping
from typing import Any

from everwillow.workflows.command_options import CommandOption


def run_module(
    name: str, title: str, words: Mapping[str, CommandOption], arguments: dict[str, Any]
) -> None:
    """Run the module of a command, and end with its exit code.

    Args:
        name: The name of the module.
        title: The name of the input, for messages.
        words: Options in place of arguments of Python, for messages.
        arguments: The arguments of the module; also `traceback`, and `cache` in place
            of the folder of compiled programs.
    """
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415

    with ending(title, traceback=arguments.pop("traceback"), options=words):
        cache = arguments.pop("cache", None)
        folder = setup.start(cache=bool(cache))
        if cache is not None:
            arguments["folder"] = folder
        importlib.import_module(f"everwillow.cli.commands.{name}").run(**arguments)
