"""Messages of the library in words of the command: options instead of arguments."""

import re
from collections.abc import Mapping


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
# What is spelled in another way than NAME VALUE.
_PHRASES = {
    "refit: False fits": "--no-refit fits",
    "with refit=True": "without --no-refit",
    "l_curve=[...]": "--l-curve LOW:HIGH:N",
    "per_process=True": "--per-process",
    "profile=False": "--no-profile",
    "statistics=None": "--statistics none",
}


def in_options(text: str, options: Mapping[str, str]) -> str:
    """Return a message with the options in place of the arguments.

    Args:
        text: The message: an argument and a colon at its beginning, or ``NAME=``
            anywhere, is one of Python.
        options: By the names of the arguments.

    Example:
        >>> in_options("fixed: there is no parameter 'jess'.", WORKSPACES)
        "--fix: there is no parameter 'jess'."
        >>> in_options("limits: none. Say which: limits='mu'.", TEMPLATES)
        "--limit: none. Say which: --limit 'mu'."
    """
    if not options:
        return text
    names = "|".join(options)
    listed = text.startswith("refit:")
    for phrase, instead in _PHRASES.items():
        text = text.replace(phrase, instead)
    text = re.sub(
        rf"^({names})(?:\['(.*?)'\]|\[.*?\])?(?=:| ')",
        lambda found: options[found[1]] + (f" ({found[2]})" if found[2] else ""),
        text,
    )
    text = re.sub(
        rf"\b({names})=(\S?)(?=(\S?))",
        lambda found: _setting(options[found[1]], found[2], found[3]),
        text,
    )
    # Words of a sentence may be names of arguments; in this list nothing else is.
    alone = names if listed else "|".join(name for name in options if "_" in name)
    if not alone:
        return text
    return re.sub(
        rf"(?<![\w'\"-])({alone})(?![\w'\"=:-])", lambda f: options[f[1]], text
    )


def _setting(option: str, first: str, second: str) -> str:
    """Return an option and what begins its value, unless the sentence ends there."""
    ends = not first or (first in ".,;" and not second)
    return f"{option}{first}" if ends else f"{option} {first}"
