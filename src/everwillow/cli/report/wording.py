"""Messages of the library with options of the command instead of arguments."""

from collections.abc import Mapping
from typing import Any

from everwillow._errors import EverwillowError, NameOnly, in_python
from everwillow.workflows.command_options import CommandOption


def in_options(error: EverwillowError, options: Mapping[str, CommandOption]) -> str:
    """Return the message of an error with options in place of arguments.

    Args:
        error: The error, with the arguments that its message names.
        options: The options by the names of the arguments.

    Example:
        >>> from everwillow.cli.options import spellings
        >>> wrong = EverwillowError("fixed['mu']: it is too large.")
        >>> in_options(wrong, spellings(fixed="--fix"))
        '--fix (mu): it is too large.'
    """

    def begin(name: str, where: str) -> str:
        if name not in options:
            return f"{name}{where}"
        entry = where.removeprefix("[").removesuffix("]")
        if entry[:1] in ("'", '"'):
            return f"{_flag(options[name])} ({entry[1:-1]})"
        # The command line has no positions in a list.
        return _flag(options[name]) + (where if entry == where else "")

    def spell(name: str, value: Any) -> str:
        if name not in options:
            return in_python(name, value)
        return _setting(options[name], value)

    return error.worded(spell, begin)


def _flag(option: CommandOption) -> str:
    return option.flags[0].partition("/")[0]


def _setting(option: CommandOption, value: Any) -> str:
    """Return an option with a value, as on the command line."""
    flag = _flag(option)
    if value is NameOnly or value is True:
        return flag
    if value is False:
        return option.flags[0].partition("/")[2] or f"--no-{flag.removeprefix('--')}"
    if value is ...:
        return f"{flag} {option.metavar or '...'}"
    if value is None:
        return f"{flag} none"
    if isinstance(value, Mapping):
        return f"{flag} {','.join(f'{key}={one}' for key, one in value.items())}"
    return f"{flag} {value!r}"
