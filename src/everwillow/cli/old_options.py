"""Old spellings of options, which still work and which no help shows."""

import sys
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple


class _Renamed(NamedTuple):
    new: str
    convert: Callable[[str], str] = str


def _complement(level: str) -> str:
    """Return the confidence level of a CLs; other texts are left to the new option."""
    try:
        return f"{1 - float(level):.12g}"
    except ValueError:
        return level


_OLD = {
    "--freeze": _Renamed("--fix"),
    "--limit-level": _Renamed("--cl", _complement),
    "--contour-level": _Renamed("--contour-cl"),
}


def in_new_words(words: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the words of a command line with options in their new spelling.

    A line on the standard error stream tells what was spelled in the old way.

    Args:
        words: The words after the name of the command.
        known: The options of the command.

    Example:
        >>> in_new_words(["fit.hdf5", "--cl", "0.9"], {"--cl"})
        ['fit.hdf5', '--cl', '0.9']
    """
    new, told, rest = [], set(), list(words)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag == "--":
            return [*new, flag, *rest]
        renamed = None if flag in known else _OLD.get(flag)
        if renamed is None or renamed.new not in known:
            new.append(flag + equals + value)
            continue
        if not equals and rest:
            value = rest.pop(0)
        new += [renamed.new, renamed.convert(value)]
        if flag not in told:
            told.add(flag)
            sys.stderr.write(f"{flag} is now {' '.join(new[-2:])}.\n")
    return new


def with_empty_values(words: Sequence[str], optional: Collection[str]) -> list[str]:
    """Return the words of a command line with ``''`` for values that are left out.

    Args:
        words: The words after the name of the command.
        optional: The options whose value may be left out, at the end of the line or
            before another option.

    Example:
        >>> with_empty_values(["file.json", "--minos", "--all"], {"--minos"})
        ['file.json', '--minos', '', '--all']
    """
    new: list[str] = []
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        new.append(word)
        if word in optional and following[:1] == "-" and following != "-":
            new.append("")
    return new
