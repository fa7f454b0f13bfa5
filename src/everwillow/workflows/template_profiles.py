"""What profile likelihoods, limits and L-curves of template fits found, as records."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True)
class Variations:
    """Values of a histogram with one parameter moved by its error, the others held.

    Attributes:
        names: The parameters that are moved.
        up: Values with each parameter moved up, a leading axis of names.
        down: Values with each parameter moved down, a leading axis of names.
    """

    names: tuple[str, ...]
    up: Float[np.ndarray, "names ..."]
    down: Float[np.ndarray, "names ..."]


@dataclass(frozen=True, slots=True)
class AsymmetricErrors:
    """Intervals in which the profile likelihood rises by a given amount (MINOS).

    Attributes:
        names: The parameters.
        values: Values of the parameters after the fit.
        lower: The errors to the left, at most zero; NaN where there is none.
        upper: The errors to the right.
        lower_status: On the left ``"found"``, or why the error is another number or
            none: ``"at bound"``, ``"no crossing"``, ``"new minimum"`` or ``"fit
            failed"``.
        upper_status: The same words on the errors to the right.
        cl: The confidence level of each interval by itself.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    lower_status: tuple[str, ...]
    upper_status: tuple[str, ...]
    cl: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The CLs upper limit on a parameter of interest, NaN where none was found.

    Attributes:
        level: The CLs of the limit, 0.05 for 95 % confidence.
        observed: The limit of the data.
        expected: Limits expected without signal: -2, -1, 0, 1 and 2 sigma.
        nuisances: ``"a posteriori"``: nuisance parameters of the expected limits were
            fitted to the data without signal.
    """

    level: float
    observed: float
    expected: Float[np.ndarray, " 5"]
    nuisances: str


@dataclass(frozen=True, slots=True)
class GridScan:
    """The profile likelihood on a grid of two parameters.

    Attributes:
        names: The parameters.
        first: Where the first one was held.
        second: Where the second one was held.
        twice_delta_nll: Twice the rise of -ln L; NaN where a fit failed.
        best: The values of the free fit.
    """

    names: tuple[str, ...]
    first: Float[np.ndarray, " k"]
    second: Float[np.ndarray, " m"]
    twice_delta_nll: Float[np.ndarray, "k m"]
    best: Float[np.ndarray, " 2"]


@dataclass(frozen=True, slots=True)
class ContourCurve:
    """A curve of constant profile likelihood.

    Attributes:
        cl: The confidence level of what is inside, for both parameters together.
        points: Points on the curve, in order; rows of NaN part pieces.
        closed: Whether the curve is closed. If not it ends at bounds, or where a fit
            failed.
    """

    cl: float
    points: Float[np.ndarray, "m 2"]
    closed: bool


@dataclass(frozen=True, slots=True)
class Contour:
    """Contours of the profile likelihood of two parameters.

    Attributes:
        names: The parameters.
        best: The values of the free fit.
        curves: The curves, by confidence level, written as a number.
    """

    names: tuple[str, ...]
    best: Float[np.ndarray, " 2"]
    curves: Mapping[str, ContourCurve]


@dataclass(frozen=True, slots=True)
class NonprofiledShifts:
    """Shifts of parameters of interest in fits with a frozen parameter moved.

    Attributes:
        interest: The parameters of interest.
        names: The frozen parameters.
        widths: By how much each was moved, the width of its constraint.
        down: The shifts for a move down, signed.
        up: The shifts for a move up.
        groups: Names of groups of systematics, and ``total`` for all.
        grouped_down: The errors that each group brings to the left, at most zero: the
            most negative shifts in quadrature.
        grouped_up: The errors that each group brings to the right, at least zero.
    """

    interest: tuple[str, ...]
    names: tuple[str, ...]
    widths: Float[np.ndarray, " names"]
    down: Float[np.ndarray, "pois names"]
    up: Float[np.ndarray, "pois names"]
    groups: tuple[str, ...]
    grouped_down: Float[np.ndarray, "pois groups"]
    grouped_up: Float[np.ndarray, "pois groups"]


@dataclass(frozen=True, slots=True)
class StrengthScan:
    """Fits with a regularisation of several strengths: the L-curve.

    Attributes:
        strengths: τ, ascending; each was used for all regularised histograms.
        nll: -ln L without the penalty; NaN where a fit failed.
        misfit: -ln L without the penalty, less that of a model that describes
            everything exactly.
        curvature: The curvature of the curve of the logarithms of misfit and penalty.
        corner: The strength at the corner of the curve; NaN if it has none.
        penalty: The sum of squared curvatures of the histograms, without its weight;
            None while parameters of interest are hidden.
    """

    strengths: Float[np.ndarray, " n"]
    nll: Float[np.ndarray, " n"]
    misfit: Float[np.ndarray, " n"]
    curvature: Float[np.ndarray, " n"]
    corner: float
    penalty: Float[np.ndarray, " n"] | None = None


@dataclass(frozen=True, slots=True)
class Regularisation:
    """Which histograms the fit wished to be smooth, and how much.

    Attributes:
        histograms: The regularised histograms, as they are written.
        strengths: τ of each histogram in this fit.
        l_curve: Fits with other strengths, if asked for.
    """

    histograms: tuple[str, ...]
    strengths: Float[np.ndarray, " n"]
    l_curve: StrengthScan | None = None


__all__ = [
    "AsymmetricErrors",
    "Contour",
    "ContourCurve",
    "GridScan",
    "Limit",
    "NonprofiledShifts",
    "Regularisation",
    "StrengthScan",
    "Variations",
]
