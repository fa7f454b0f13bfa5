"""The call of the module of a command."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from everwillow.cli.options import spellings
from everwillow.cli.report.terminal import busy, progress_shown
from everwillow.cli.request import Request
from everwillow.workflows.command_options import CommandOption


def run_module(
    name: str, title: str, words: Mapping[str, CommandOption], arguments: dict[str, Any]
) -> None:
    """Run the module of a command, and end with its exit code.

    Args:
        name: The name of the module.
        title: The name of the input, for messages.
        words: Options in place of arguments of Python, for messages.
        arguments: The arguments of the module, `traceback`, and `cache`: whether to
            keep compiled programs.
    """
    with progress_shown():
        with busy("Starting"):
            from everwillow.cli.session import setup  # noqa: PLC0415

            setup.prepare()
            from everwillow.cli.report.outcome import ending  # noqa: PLC0415

        with ending(title, traceback=arguments.pop("traceback"), options=words):
            with busy("Starting"):
                setup.start(cache=bool(arguments.pop("cache", False)))
                module = importlib.import_module(f"everwillow.cli.commands.{name}")
            module.run(**arguments)


def run_for_workspace(
    name: str, workspace: str, options: dict[str, Any], **others: str
) -> None:
    """Run a command for workspaces; its options that are no fields of `Request` too.

    Args:
        name: The name of its module.
        workspace: The file.
        options: All options by name.
        **others: Options in place of arguments of Python, for messages.
    """
    fields = {field.name for field in dataclasses.fields(Request)} & options.keys()
    request = Request.of(workspace, {key: options.pop(key) for key in fields})
    known = {"max_steps": "--max-steps"}
    words = spellings(Request, **known, values="--range", **others)
    # Commands that only read have no option --cache.
    if "cache" in fields:
        options["cache"] = request.cache
    run_module(name, request.title, words, {"request": request, **options})
