"""Messages of the library in words of the command: options instead of arguments."""

from collections.abc import Mapping
from typing import Any

from everwillow._errors import EverwillowError, NameOnly, in_python


# What options of commands for workspaces are called in Python.
WORKSPACES = {
    "analysis": "--analysis",
    "fixed": "--fix",
    "interpolation": "--interpolation",
    "level": "--cl",
    "max_steps": "--max-steps",
    "measurement": "--measurement",
    "patches": "--patch",
    "poi": "--poi",
    "pois": "--poi",
    "values": "--range",
}
# Those of `everwillow template fit`.
TEMPLATES = {
    "asymmetric_impacts": "--asymmetric-impacts",
    "blind": "--blind",
    "contour_levels": "--contour-level",
    "contours": "--contour",
    "data": "--data",
    "fixed": "--freeze",
    "freeze": "--freeze",
    "from_result": "--from-result",
    "frozen": "--freeze",
    "groups": "--group",
    "impacts": "--impacts",
    "l_curve": "--l-curve",
    "likelihood": "--likelihood",
    "limit_level": "--limit-level",
    "limits": "--limit",
    "mappings": "--mapping",
    "max_steps": "--max-steps",
    "minos": "--minos",
    "nonprofiled_impacts": "--nonprofiled-impacts",
    "parameters": "--parameters",
    "per_process": "--per-process",
    "projections": "--projection",
    "refit": "--refit",
    "regularise": "--regularise",
    "scan_points": "--points",
    "scans": "--scan",
    "starts": "--start",
    "statistics": "--statistics",
    "strength": "--strength",
    "toys": "--toys",
    "unblind": "--unblind",
    "unconstrained": "--unconstrained",
    "variations": "--variation",
    "with_starts": "--start",
}
# What stands for any value of an option.
_PLACEHOLDERS = {"--l-curve": "LOW:HIGH:N"}


def in_options(error: EverwillowError, options: Mapping[str, str]) -> str:
    """Return the message of an error with options in place of arguments.

    Args:
        error: Says which argument is wrong, and which others its message names.
        options: By the names of the arguments.

    Example:
        >>> wrong = EverwillowError("fixed['mu']: it is too large.")
        >>> in_options(wrong, {"fixed": "--fix"})
        '--fix (mu): it is too large.'
    """

    def begin(name: str, where: str) -> str:
        if name not in options:
            return f"{name}{where}"
        entry = where.removeprefix("[").removesuffix("]")
        if entry[:1] in ("'", '"'):
            return f"{options[name]} ({entry[1:-1]})"
        # Positions in a list are no part of what a user typed.
        return options[name] + (where if entry == where else "")

    def spell(name: str, value: Any) -> str:
        if name not in options:
            return in_python(name, value)
        return _setting(options[name], value)

    return error.worded(spell, begin)


def _setting(option: str, value: Any) -> str:
    """Return an option with a value, as a user types it."""
    if value is NameOnly or value is True:
        return option
    if value is False:
        return f"--no-{option.removeprefix('--')}"
    if value is ...:
        return f"{option} {_PLACEHOLDERS.get(option, '...')}"
    if value is None:
        return f"{option} none"
    if isinstance(value, Mapping):
        return f"{option} {','.join(f'{key}={one}' for key, one in value.items())}"
    return f"{option} {value!r}"
