"""Options of commands, derived from dataclasses of options."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from everwillow.workflows.command_options import (
    CommandOption,
    Option,
    command_options,
)


F = TypeVar("F", bound=Callable[..., None])

_OUTPUT = "Output"
_REPEAT = "May be repeated."

All: TypeAlias = Annotated[
    bool, typer.Option("--all", help="Show all rows.", rich_help_panel=_OUTPUT)
]
Cache: TypeAlias = Annotated[
    bool, typer.Option(help="Whether compiled programs are kept for the next run.")
]
Traceback: TypeAlias = Annotated[
    bool, typer.Option("--traceback", help="Show where an error came from.")
]


def with_options(
    *classes: Any, only: Collection[str] = (), without_default: Collection[str] = ()
) -> Callable[[F], F]:
    """Give a command the options of dataclasses, which it takes as ``**options``.

    They follow the argument of the command, and are in front of its own options.

    Args:
        *classes: The dataclasses.
        only: The fields that the command has; all if empty.
        without_default: Fields that are None if their option is not given.
    """

    def decorate(command: F) -> F:
        first, *own, _ = inspect.signature(command).parameters.values()
        more = [
            _parameter(option, without_default)
            for cls in classes
            for option in command_options(cls)
            if not only or option.field in only
        ]
        signature = inspect.Signature([first, *more, *own])
        command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        return command

    return decorate


def _parameter(option: Option, without_default: Collection[str]) -> inspect.Parameter:
    """Return a parameter as typer reads it."""
    command = option.command
    default = None if option.field in without_default else option.default
    kind = list[command.kind] if command.repeated else command.kind
    about = f"{command.help} {_REPEAT}" if command.repeated else command.help
    spelled = typer.Option(
        *command.flags,
        help=about,
        rich_help_panel=command.panel,
        metavar=command.metavar,
        min=command.minimum,
    )
    return inspect.Parameter(
        option.field,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if default is None else kind, spelled],
    )


def spellings(*classes: Any, **others: str) -> dict[str, CommandOption]:
    """Return how a command spells arguments of Python, by their names.

    Args:
        *classes: Dataclasses, whose fields are arguments.
        **others: Options of arguments that are no fields.
    """
    found = {one.field: one.command for cls in classes for one in command_options(cls)}
    known = {one.flags[0]: one for one in found.values()}
    for name, flag in others.items():
        bare = CommandOption((flag,), "", None, str, None, False, None)
        found[name] = known.get(flag, bare)
    return found
