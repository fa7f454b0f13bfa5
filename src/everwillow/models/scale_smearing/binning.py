"""The bins of data in a region."""

import math
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError


Binning: TypeAlias = Literal["Q"] | float | None
"""Quantiles, a width in GeV, or None for the rule of Freedman and Diaconis."""

_FEWEST = 5
_NARROWEST = 0.5


def check_binning(binning: Binning, *, where: str = "data_bins") -> None:
    """Check the choice of bins.

    Raises:
        ArgumentValueError: If it is neither ``"Q"`` nor None nor a positive width.
    """
    if binning is None or binning == "Q":
        return
    if isinstance(binning, str) or not 0 < binning < math.inf:
        raise ArgumentValueError(
            f"{where}: {binning!r} is neither 'Q' (quantiles) nor a positive width in "
            "GeV nor None (the rule of Freedman and Diaconis)."
        )


def data_edges(
    binning: Binning,
    data: Float[np.ndarray, " events"],
    simulation: Float[np.ndarray, " simulated"],
    window: tuple[float, float],
) -> Float[np.ndarray, " edges"]:
    r"""Return the edges of the bins of data in a region.

    With ``"Q"`` they are quantiles of the simulated masses, moved by the difference of
    the means, inside of the window: :math:`\max(5, \min(2 w, N^{1/3}))` bins for N
    masses in a window of w GeV, rounded down. With a width, equal bins fill the window:
    a width that does not divide it is rounded up. With None the width is
    :math:`2\,\mathrm{IQR} N^{-1/3}` of the N data, at least 0.5 GeV (D. Freedman and P.
    Diaconis, Z. Wahrsch. Verw. Gebiete 57 (1981) 453), rounded down to divide it.

    Weights have no effect on the edges: these need not be exact quantiles.

    Args:
        binning: The choice.
        data: Masses in data in their window, not empty.
        simulation: Simulated masses in theirs, not empty.
        window: The window of data.

    Returns:
        Increasing edges; fewer than two if no simulated mass is in the window.

    Example:
        >>> data_edges(4.0, np.array([91.0]), np.array([91.0]), (80.0, 100.0))
        array([ 80.,  84.,  88.,  92.,  96., 100.])
    """
    low, high = window
    if binning == "Q":
        moved = simulation + (np.mean(data) - np.mean(simulation))
        inside = moved[(moved > low) & (moved < high)]
        if not inside.size:
            return np.zeros(0)
        most = min(int(2 * (high - low)), math.floor(np.cbrt(inside.size) + 1e-9))
        return np.unique(np.quantile(inside, np.linspace(0, 1, max(_FEWEST, most) + 1)))
    width = binning
    if not width:
        quarter, three = np.quantile(data, [0.25, 0.75])
        width = max(2 * (three - quarter) / np.cbrt(data.size), _NARROWEST)
        count = max(1, math.ceil((high - low) / width - 1e-9))
        return np.linspace(low, high, count + 1)
    count = max(1, math.floor((high - low) / width + 1e-9))
    return np.linspace(low, high, count + 1)


def template_edges(
    window: tuple[float, float], width: float
) -> Float[np.ndarray, " edges"]:
    """Return the edges of the bins of simulated masses: they fill the window.

    Args:
        window: The window of simulated masses.
        width: The largest width of a bin that divides it: the width is rounded up.
    """
    count = max(1, math.floor((window[1] - window[0]) / width + 1e-9))
    return np.linspace(*window, count + 1)
