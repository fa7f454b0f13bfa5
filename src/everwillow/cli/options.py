"""Options of commands, derived from dataclasses of options."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeVar

import typer

from everwillow.workflows.command_options import CommandOption, Option, derive_options


F = TypeVar("F", bound=Callable[..., None])

_REPEAT = "May be repeated."


def with_options(
    *classes: Any, only: Collection[str] = (), without_default: Collection[str] = ()
) -> Callable[[F], F]:
    """Give a command the options of dataclasses, which it takes as ``**options``.

    They follow the argument of the command.

    Args:
        *classes: The dataclasses.
        only: The fields of the first dataclass that the command has; all if empty.
        without_default: Fields that are None if their option is not given.
    """

    def decorate(command: F) -> F:
        argument, _ = inspect.signature(command).parameters.values()
        more = [
            _parameter(option, without_default)
            for cls in classes
            for option in derive_options(cls)
            if not only or cls is not classes[0] or option.field in only
        ]
        signature = inspect.Signature([argument, *more])
        command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        return command

    return decorate


def _parameter(option: Option, without_default: Collection[str]) -> inspect.Parameter:
    """Return a parameter for typer, which is required if its default is ``...``."""
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
        default=inspect.Parameter.empty if default is ... else default,
        annotation=Annotated[kind | None if default is None else kind, spelled],
    )


def spellings(*classes: Any, **others: str) -> dict[str, CommandOption]:
    """Return the options that stand for arguments of Python, by the arguments.

    Args:
        *classes: Dataclasses whose fields are arguments.
        **others: The options of other arguments.
    """
    options = {one.field: one.command for cls in classes for one in derive_options(cls)}
    known = {one.flags[0]: one for one in options.values()}
    for name, flag in others.items():
        bare = CommandOption((flag,), "", None, str, None, False, None)
        options[name] = known.get(flag, bare)
    return options
