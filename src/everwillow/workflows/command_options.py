"""Options of functions as fields of dataclasses, with their form on the command line.

A dataclass is the only list of its options: it has the defaults, its docstring
describes them, and the metadata of each field has the flags, help and type of the
command line. A command derives its options by `derive_options` (the text "May be
repeated." is added to the help of repeated options):

>>> from everwillow.workflows.templates.fit_options import MinimisationOptions
>>> for option in derive_options(MinimisationOptions):
...     print(option.field, option.command.flags, option.default)
from_result ('--from-result',) None
refit ('--refit/--no-refit',) True
l_curve ('--l-curve',) None
max_steps ('--max-steps',) 256

Importing this module, and those with dataclasses of options, does not import JAX.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from everwillow._keywords import takes_keywords


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_METADATA = "command"


class CommandOption(NamedTuple):
    """The form of an option on the command line.

    Attributes:
        flags: The names of the option, such as ``("--out", "-o")``, or
            ``"--refit/--no-refit"`` for both values of a flag.
        help: One sentence for ``--help``.
        panel: The group of options in ``--help``; None for the general ones.
        kind: The type of the value, or of each value of a repeated option: ``str``,
            ``int``, ``float``, ``bool``, or a ``Literal`` of the allowed texts.
        metavar: The placeholder of the value in ``--help``.
        repeated: Whether the option may be given several times; a tuple in Python.
        minimum: The least value of a number.
    """

    flags: tuple[str, ...]
    help: str
    panel: str | None
    kind: Any
    metavar: str | None
    repeated: bool
    minimum: int | None


class Option(NamedTuple):
    """A field of a dataclass of options.

    Attributes:
        field: The name of the field, which is the keyword in Python.
        default: Its value if it is not given; None for repeated options.
        command: Its form on the command line.
    """

    field: str
    default: Any
    command: CommandOption


def option(
    default: Any,
    help: str,
    *flags: str,
    panel: str | None = None,
    kind: Any = None,
    metavar: str | None = None,
    repeated: bool = False,
    minimum: int | None = None,
) -> Any:
    """Return a field of a dataclass of options, for Python and the command line.

    Args:
        default: The value if the option is not given; ``...`` for required options of
            commands.
        help: As in `CommandOption`, like the arguments below.
        *flags: By default the name of the field, ``--name``; for a field that is True
            by default ``--name/--no-name``.
        panel: As in `CommandOption`.
        kind: By default the type of a default that is a number or a truth value, for
            options that may not be repeated; else ``str``.
        metavar: As in `CommandOption`.
        repeated: As in `CommandOption`.
        minimum: As in `CommandOption`.
    """
    if kind is None:
        is_number = isinstance(default, bool | int | float) and not repeated
        kind = type(default) if is_number else str
    command = CommandOption(flags, help, panel, kind, metavar, repeated, minimum)
    return dataclasses.field(default=default, metadata={_METADATA: command})


def derive_options(cls: Any) -> tuple[Option, ...]:
    """Return the options of a dataclass that a command has, in the order of the fields.

    Args:
        cls: The dataclass. Fields that were not made by `option` are for Python only.
    """
    return tuple(
        Option(
            field.name,
            None if command.repeated else field.default,
            command._replace(flags=command.flags or _flags_of(field)),
        )
        for field in dataclasses.fields(cls)
        if (command := field.metadata.get(_METADATA)) is not None
    )


def _flags_of(field: dataclasses.Field[Any]) -> tuple[str]:
    flag = f"--{field.name.replace('_', '-')}"
    return (f"{flag}/--no-{flag[2:]}" if field.default is True else flag,)


def takes_fields(*classes: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function refuse keywords that are neither its own nor fields of options.

    Its signature, as `help` and editors show it, lists the fields with their defaults
    instead of ``**options``.

    Args:
        *classes: The dataclasses; no two have a field of one name.

    Raises:
        ArgumentTypeError: When the function is called with another keyword; names the
            nearest one.
    """
    return takes_keywords(
        (field.name, field.type, field.default)
        for cls in classes
        for field in dataclasses.fields(cls)
    )


def options_of(cls: type[T], keywords: Mapping[str, Any]) -> T:
    """Return the dataclass with those of the keywords that are its fields."""
    names = [field.name for field in dataclasses.fields(cast("Any", cls))]
    return cls(**{name: keywords[name] for name in names if name in keywords})
