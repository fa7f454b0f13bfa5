"""What systematics are given as: factors, pairs, lists for several processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.histograms import Channel
from everwillow.models.templates.booking._book import check_name
from everwillow.models.templates.booking._histograms import read
from everwillow.models.templates.booking._variations import Variation


def names_of(given: Any, what: str) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, Sequence):
        raise ArgumentTypeError(
            f"{what}: expected a name or several, got {given!r:.80}."
        )
    names = tuple(check_name(name, what) for name in names)
    if len(set(names)) < len(names) or not names:
        raise KeyCollisionError(
            f"{what}: give every name once, and one at least; got {list(names)}."
        )
    return names


def groups_of(groups: Any, name: str) -> tuple[str, ...]:
    """Return the names of groups; none if they were not given."""
    if groups is None or (isinstance(groups, Sequence) and not groups):
        return ()
    return names_of(groups, f"systematic {name!r}, groups")


def factors_of(
    factor: Any, processes: Sequence[str], name: str
) -> list[tuple[float, float | None]]:
    """Return factors up and down for each process; down is None if mirrored.

    A number, or a tuple of two, goes for every process; a list has one of these for
    each process. Where there is one process only, a list of two numbers is a pair.
    """
    where = f"systematic {name!r}, factor"
    if isinstance(factor, np.ndarray):
        factor = factor.tolist()
    pair = isinstance(factor, tuple) or (
        isinstance(factor, list)
        and len(processes) == 1
        and len(factor) == 2
        and not any(isinstance(part, list | tuple) for part in factor)
    )
    if not isinstance(factor, list) or pair:
        return [_factor(factor, where)] * len(processes)
    if len(factor) != len(processes):
        raise ShapeMismatchError(
            f"{where}: the list has {len(factor)} entries for the {len(processes)} "
            f"processes {list(processes)}. Give one for each process, or one number or "
            "a tuple (up, down) for all."
        )
    return [_factor(part, where) for part in factor]


def _factor(given: Any, where: str) -> tuple[float, float | None]:
    parts = given if isinstance(given, list | tuple) else (given, None)
    if len(parts) != 2:
        raise ShapeMismatchError(
            f"{where}: expected a number or a pair (up, down), got {given!r:.80}."
        )
    up = _number(parts[0], where)
    if parts[1] is None and isinstance(given, list | tuple):
        raise ArgumentTypeError(
            f"{where}: expected numbers up and down, got {given!r:.80}."
        )
    return up, None if parts[1] is None else _number(parts[1], where)


def _number(given: Any, where: str) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"{where}: expected a number, got {given!r:.80}."
        ) from error
    if not np.isfinite(value) or value <= 0:
        raise (ArgumentValueError if np.isfinite(value) else NonFiniteError)(
            f"{where}: factors are finite and above 0, such as 1.02 for 2 %; got "
            f"{value}."
        )
    return value


def variations_of(
    hist: Any,
    processes: Sequence[str],
    channel: Channel,
    name: str,
    *,
    several: bool,
    mirror: bool,
    difference: bool,
    syst_axes: str | Sequence[str] | None,
) -> list[Variation]:
    """Return the variation of each process as its histograms tell it.

    Args:
        hist: A histogram or a pair; for several processes a list of these.
        processes: The processes.
        channel: Where.
        name: Of the systematic.
        several: Whether processes were given as a sequence.
        mirror: Whether one histogram without a partner is mirrored.
        difference: Whether they are differences to the nominal template.
        syst_axes: Axes that make one parameter a bin; None to find them.
    """
    if isinstance(syst_axes, str):
        syst_axes = (syst_axes,)
    where = f"systematic {name!r} in channel {channel.name!r}"
    parts = [hist]
    alone = len(processes) == 1 and not (isinstance(hist, list) and len(hist) == 1)
    if several and not alone:
        if not isinstance(hist, Sequence) or len(hist) != len(processes):
            count = len(hist) if isinstance(hist, Sequence) else "no"
            raise ShapeMismatchError(
                f"{where}: {len(processes)} processes need a list of as many "
                f"histograms (or pairs), got {count} in a {type(hist).__name__}."
            )
        parts = list(hist)
    out = []
    for process, part in zip(processes, parts, strict=True):
        here = f"{where}, process {process!r}"
        pair = _pair(part)
        if pair is None and not mirror:
            raise ArgumentValueError(
                f"{here}: with mirror=False it needs two histograms, (up, down); for "
                "an effect on one side give the nominal template as the other."
            )
        up, down = (part, None) if pair is None else pair
        extra = None if syst_axes is None else tuple(syst_axes)
        first = read(up, channel, where=f"{here}, up", extra=extra)
        second = None
        if down is not None:
            second = read(down, channel, where=f"{here}, down", extra=extra)
        variation = Variation(first, second, difference)
        if second is not None and second.labels != first.labels:
            raise ShapeMismatchError(
                f"{here}: the histograms up and down have different further axes."
            )
        out.append(variation)
    return out


def _pair(given: Any) -> tuple[Any, Any] | None:
    """Return histograms up and down, or None for one histogram."""
    if not isinstance(given, list | tuple):
        return None
    plain = int | float | np.number
    if len(given) == 2 and not any(isinstance(p, plain) for p in given):
        return given[0], given[1]
    if given and all(isinstance(p, plain) for p in given):
        return None
    raise ShapeMismatchError(
        f"A variation is one histogram or a pair (up, down), got a "
        f"{type(given).__name__} of {len(given)}."
    )
