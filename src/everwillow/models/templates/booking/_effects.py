"""What systematics do, process by process, ready to be booked."""

from collections.abc import Mapping

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.models.templates.booking._book import Book, Booking, Kind, check_name
from everwillow.models.templates.booking._histograms import Content
from everwillow.models.templates.booking._symmetrisation import (
    Response,
    Symmetrisation,
    check_symmetrisation,
)
from everwillow.models.templates.booking._variations import (
    Finding,
    Nominal,
    Variation,
    differences,
    respond,
    uniform,
)


def check_kind(
    book: Book,
    name: str,
    channel: str,
    kind: Kind,
    symmetrize: Symmetrisation | None,
) -> None:
    """Check the name of a systematic, and what it is said to be.

    Raises:
        ArgumentTypeError: If the name is none.
        ArgumentValueError: If it cannot be part of the covariance of the data and is
            to be, or if there is no such symmetrisation.
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


def of_factors(
    book: Book,
    name: str,
    channel: str,
    factors: Mapping[str, tuple[float, float | None]],
    kind: Kind,
    symmetrize: Symmetrisation | None,
) -> tuple[list[Booking], list[Finding]]:
    """Return the effects of factors up and down by process, and what is odd."""
    bookings: list[Booking] = []
    findings: list[Finding] = []
    for process, (up, down) in factors.items():
        nominal = book.template(process, channel)
        if kind.covariance:
            effects = differences(
                Variation(
                    _scaled(nominal, up),
                    None if down is None else _scaled(nominal, down),
                ),
                nominal,
                kfactor=1.0,
                symmetrize=symmetrize,
            )
        else:
            effects, found = uniform(
                (up, down),
                nominal,
                kind=book.kind,
                symmetrize=symmetrize,
                name=(name, process, channel),
            )
            findings += found
        bookings += [Booking(name, s, process, channel, e) for s, e in effects.items()]
    return bookings, findings


def _scaled(nominal: Nominal, factor: float) -> Content:
    return Content(factor * nominal.dense()[:, None])


def _check_filled(
    variation: Variation, nominal: Nominal, names: tuple[str, str, str]
) -> None:
    """Refuse a histogram of zeros, which somebody forgot to fill."""
    if variation.difference or not nominal.value.any():
        return
    for side, content in (("up", variation.up), ("down", variation.down)):
        if content is not None and not content.values.any():
            msg = (
                "systematic {!r} of process {!r} in channel {!r}, {}: the histogram is "
                "empty, and the process is not. Fill it; or is it a difference to the "
                "nominal one? Then say as_difference=True."
            )
            raise ArgumentValueError(msg.format(*names, side))


def of_variations(
    book: Book,
    name: str,
    channel: str,
    variations: Mapping[str, Variation],
    kind: Kind,
    symmetrize: Symmetrisation | None,
    kfactor: float,
) -> tuple[list[Booking], list[Finding]]:
    """Return the effects of variations by process, and what is odd.

    Raises:
        ArgumentTypeError: If `kfactor` is no number.
        ArgumentValueError: If it cannot be one, or if a histogram is empty where the
            process is not.
    """
    if not isinstance(kfactor, int | float | np.number):
        raise ArgumentTypeError(
            f"systematic {name!r}: kfactor is a number, got {kfactor!r:.80}."
        )
    if not np.isfinite(kfactor) or kfactor == 0:
        raise ArgumentValueError(
            f"systematic {name!r}: kfactor must be finite and not 0, got {kfactor}."
        )
    kfactor = float(kfactor)
    bookings: list[Booking] = []
    findings: list[Finding] = []
    for process, variation in variations.items():
        nominal = book.template(process, channel)
        for label, column in variation.columns():
            full = name + label
            _check_filled(column, nominal, (full, process, channel))
            effects: Mapping[str, Response | np.ndarray]
            if kind.covariance:
                effects = differences(
                    column, nominal, kfactor=kfactor, symmetrize=symmetrize
                )
            else:
                effects, found = respond(
                    column,
                    nominal,
                    kind=book.kind,
                    kfactor=kfactor,
                    symmetrize=symmetrize,
                    name=(full, process, channel),
                )
                findings += found
            bookings += [
                Booking(full, s, process, channel, e) for s, e in effects.items()
            ]
    return bookings, findings
