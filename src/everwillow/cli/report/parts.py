"""The parts of results that ``--only`` matches, by names of tables and of plots."""

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence

from everwillow._errors import ArgumentValueError, first_names, nearest


# The largest number of parts in a message.
_NAMED = 30
# The beginning of the names of plots, for groups of tables.
_PLOTS = {
    "channels": "channel",
    "contours": "contour",
    "impacts": "impacts",
    "inputs": "input",
    "mappings": "mapping",
    "nonprofiled": "nonprofiled",
    "scans": "scan",
}
# Plots with another name than their table.
_SINGLE = {"l_curve": "regularisation", "pulls": "parameters"}
_ENDS = ("_prefit", "_postfit", "_processes", "_uncertainties")
_MOVED = re.compile(r"_(?:pre|post)fit_variations(?:_\d+)?$")


def stem_of(name: str) -> str:
    """Return a name that is valid in every file system.

    Example:
        >>> stem_of("mapping_Project ch0 x_postfit")
        'mapping_Project_ch0_x_postfit'
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")


def names_of_part(name: str) -> tuple[str, ...]:
    """Return all names of a table, including those of its plots.

    Example:
        >>> names_of_part("scans/slope")
        ('scans/slope', 'scans', 'slope', 'scan', 'scan_slope')
    """
    first, _, last = name.partition("/")
    names = [name, first, last] if last else [name]
    if first in _PLOTS:
        plot = _PLOTS[first]
        names += [plot, stem_of(f"{plot}_{last}")]
        if first in ("channels", "mappings"):
            names += [f"{names[-1]}{end}" for end in _ENDS]
    if first == "variations":
        stems = [stem_of(f"{plot}_{last}") for plot in ("channel", "mapping")]
        when = ("prefit", "postfit")
        names += [f"{stem}_{one}_variations" for stem in stems for one in when]
    names += [plot for plot, table in _SINGLE.items() if table == name]
    return tuple(names)


def names_of_plot(name: str) -> tuple[str, ...]:
    """Return all names of a plot, including those of its table.

    Example:
        >>> names_of_plot("scan_slope")
        ('scan_slope', 'scan_slope', 'scans', 'scans/slope', 'slope')
    """
    names = [stem_of(name), name]
    for table, plot in _PLOTS.items():
        rest = name.removeprefix(f"{plot}_")
        if rest == name:
            continue
        if plot in ("channel", "mapping") and _MOVED.search(rest):
            rest = _MOVED.sub("", rest)
            names += ["variations", f"variations/{rest}"]
            continue
        for end in _ENDS if plot in ("channel", "mapping") else ():
            rest = rest.removesuffix(end)
        names += [table, f"{table}/{rest}", rest]
    if name in _SINGLE:
        names.append(_SINGLE[name])
    return tuple(names)


def matches(patterns: Collection[str], names: Iterable[str]) -> bool:
    """Return whether a pattern matches one of the names, or there are no patterns."""
    return not patterns or any(
        fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns
    )


def check_found(
    patterns: Iterable[str], known: Sequence[tuple[str, ...]], what: str
) -> None:
    """Refuse patterns that match nothing.

    Args:
        patterns: The patterns.
        known: The names of each part, its own name first.
        what: The kind of the parts, for the message.

    Raises:
        ArgumentValueError: If a pattern matches none of them.
    """
    for pattern in patterns:
        if any(matches([pattern], names) for names in known):
            continue
        own = list(dict.fromkeys(names[0] for names in known))
        others = [name for names in known for name in names]
        hint = nearest(pattern.rstrip("*/_"), dict.fromkeys(own + others))
        shown = first_names(own, _NAMED)
        raise ArgumentValueError(
            f"--only: there is no {what} {pattern!r}.{hint} There are: {shown}."
        )
