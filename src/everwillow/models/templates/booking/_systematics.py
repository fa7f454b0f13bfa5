"""Arguments of systematics: checks, and conversion into effects on processes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.histograms import Channel
from everwillow.models.templates.booking._book import (
    Book,
    Booking,
    SystematicKind,
    check_name,
)
from everwillow.models.templates.booking._histograms import Content, read
from everwillow.models.templates.booking._responses import (
    Finding,
    Nominal,
    Response,
    Symmetrisation,
    Variation,
    check_symmetrisation,
    differences,
    respond,
    uniform,
)


Factors: TypeAlias = tuple[float, float | None]
"""Factors up and down; down is None if it is the mirror image."""


def check_kind(
    book: Book,
    name: str,
    channel: str,
    kind: SystematicKind,
    symmetrize: Symmetrisation | None,
) -> None:
    """Check the name and the options of a systematic.

    Raises:
        ArgumentTypeError: If the name is not a text, or is empty.
        ArgumentValueError: If the systematic cannot be added to the covariance of the
            data, or if there is no such symmetrisation.
    """
    check_name(name, "systematic")
    check_symmetrisation(symmetrize)
    if not kind.covariance:
        return
    book.channel(channel, masked=False)
    where = f"systematic {name!r}, add_to_data_covariance"
    if not kind.constrained or kind.interest:
        raise ArgumentValueError(
            f"{where}: what is no parameter is neither unconstrained nor of interest."
        )
    if symmetrize is None:
        raise ArgumentValueError(
            f"{where}: a covariance is symmetric. Choose another symmetrize than None."
        )


def names_of(name_or_names: Any, where: str) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    names = (name_or_names,) if isinstance(name_or_names, str) else name_or_names
    if not isinstance(names, Sequence):
        raise ArgumentTypeError(
            f"{where}: expected a name or several, got {name_or_names!r:.80}."
        )
    names = tuple(check_name(name, where) for name in names)
    if len(set(names)) < len(names) or not names:
        raise KeyCollisionError(
            f"{where}: give every name once, and one at least; got {list(names)}."
        )
    return names


def groups_of(groups: Any, name: str) -> tuple[str, ...]:
    """Return the names of groups; an empty tuple for None."""
    if groups is None or (isinstance(groups, Sequence) and not groups):
        return ()
    return names_of(groups, f"systematic {name!r}, groups")


def factors_of(factor: Any, processes: Sequence[str], name: str) -> list[Factors]:
    """Return factors up and down for each process; down is None if mirrored.

    A number, or a tuple of two, is for every process; a list has one of these for each
    process. For a single process a list of two numbers is a pair.
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


def _factor(factor: Any, where: str) -> Factors:
    parts = factor if isinstance(factor, list | tuple) else (factor, None)
    if len(parts) != 2:
        raise ShapeMismatchError(
            f"{where}: expected a number or a pair (up, down), got {factor!r:.80}."
        )
    up = _number(parts[0], where)
    if parts[1] is None and isinstance(factor, list | tuple):
        raise ArgumentTypeError(
            f"{where}: expected numbers up and down, got {factor!r:.80}."
        )
    return up, None if parts[1] is None else _number(parts[1], where)


def _number(factor: Any, where: str) -> float:
    try:
        value = float(factor)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"{where}: expected a number, got {factor!r:.80}."
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
    """Return the variation of each process, read from its histograms.

    Args:
        hist: A histogram or a pair; for several processes a list of these.
        processes: The processes.
        channel: The channel.
        name: The name of the systematic.
        several: Whether processes were given as a sequence.
        mirror: Whether one histogram without a partner is mirrored.
        difference: Whether they are differences to the nominal template.
        syst_axes: Axes with one parameter for each bin; None to find them.
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


def _pair(variation: Any) -> tuple[Any, Any] | None:
    """Return histograms up and down, or None for one histogram."""
    if not isinstance(variation, list | tuple):
        return None
    plain = int | float | np.number
    if len(variation) == 2 and not any(isinstance(p, plain) for p in variation):
        return variation[0], variation[1]
    if variation and all(isinstance(p, plain) for p in variation):
        return None
    raise ShapeMismatchError(
        f"A variation is one histogram or a pair (up, down), got a "
        f"{type(variation).__name__} of {len(variation)}."
    )


def check_kfactor(kfactor: Any, name: str) -> float:
    """Return the factor of all responses of a systematic.

    Raises:
        ArgumentTypeError: If it is not a number.
        ArgumentValueError: If it is 0 or not finite.
    """
    if not isinstance(kfactor, int | float | np.number):
        raise ArgumentTypeError(
            f"systematic {name!r}: kfactor is a number, got {kfactor!r:.80}."
        )
    if not np.isfinite(kfactor) or kfactor == 0:
        raise ArgumentValueError(
            f"systematic {name!r}: kfactor must be finite and not 0, got {kfactor}."
        )
    return float(kfactor)


def book_effects(
    book: Book,
    name: str,
    channel: str,
    by_process: Mapping[str, Variation | Factors],
    kind: SystematicKind,
    *,
    symmetrize: Symmetrisation | None,
    groups: Sequence[str],
    kfactor: float = 1.0,
) -> None:
    """Book the effects of a systematic on the processes of a channel.

    Args:
        book: The book.
        name: The systematic.
        channel: The channel.
        by_process: Variations, with a column for each parameter, or factors.
        kind: The kind of the systematic.
        symmetrize: The symmetrisation of up and down.
        groups: The groups for impacts.
        kfactor: The factor of the responses to variations.

    Raises:
        ArgumentValueError: If a histogram is empty where the process is not.
    """
    bookings: list[Booking] = []
    findings: list[Finding] = []
    for process, each in by_process.items():
        nominal = book.template(process, channel)
        columns = each.columns() if isinstance(each, Variation) else [("", each)]
        for label, column in columns:
            full = name + label
            where = full, process, channel
            if isinstance(column, Variation):
                _check_filled(column, nominal, where)
            remarks: list[Finding] = []
            effects: Mapping[str, Response | np.ndarray]
            if kind.covariance:
                varied = _scaled(nominal, column)
                effects = differences(
                    varied, nominal, kfactor=kfactor, symmetrize=symmetrize
                )
            elif isinstance(column, Variation):
                effects, remarks = respond(
                    column,
                    nominal,
                    kind=book.kind,
                    kfactor=kfactor,
                    symmetrize=symmetrize,
                    name=where,
                )
            else:
                effects, remarks = uniform(
                    column, nominal, kind=book.kind, symmetrize=symmetrize, name=where
                )
            findings += remarks
            bookings += [
                Booking(full, s, process, channel, e) for s, e in effects.items()
            ]
    book.book(bookings, kind, family=name, groups=groups, findings=findings)


def _scaled(nominal: Nominal, column: Variation | Factors) -> Variation:
    """Return the variation from factors."""
    if isinstance(column, Variation):
        return column
    up, down = (
        None if factor is None else Content(factor * nominal.dense()[:, None])
        for factor in column
    )
    assert up is not None
    return Variation(up, down)


def _check_filled(
    variation: Variation, nominal: Nominal, names: tuple[str, str, str]
) -> None:
    """Check that a histogram is filled if the nominal one is."""
    if variation.difference or not nominal.value.any():
        return
    for side, content in (("up", variation.up), ("down", variation.down)):
        if content is not None and not content.values.any():
            name, process, channel = names
            raise ArgumentValueError(
                f"systematic {name!r} of process {process!r} in channel {channel!r}, "
                f"{side}: the histogram is empty, and the process is not. Fill it; or "
                "is it a difference to the nominal one? Then say as_difference=True."
            )
