"""Parameters that shape processes along axes: free norms, exponentials, polynomials."""

import math
from typing import final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.histograms import Layout
from everwillow.models.templates.rates._cells import (
    Cells,
    Names,
    cells_of,
    centres,
    check_degree,
    fractions,
    grid_of,
    names_of,
    places,
    spread,
)
from everwillow.models.templates.rates.base import (
    AbstractStoredModel,
    ParameterTable,
    RateParameter,
    Rates,
    Values,
    strength,
)


@final
class AxisNorms(AbstractStoredModel):
    """One strength for each bin of some axes, for example for a binned cross section.

    The strengths are called ``<name>_<axis><bin>...``, for instance ``signal_pt0_eta2``
    with axes ``pt`` and ``eta``; bins are numbered from 0, an underflow bin included.
    Channels with common strengths, for instance a fitted and a masked one, must have
    equal axes of these names; their other axes may differ.

    Args:
        layout: Channels and processes.
        processes: The process that they scale, or several processes.
        channels: The channel, or several with common strengths.
        axes: The axes; without any, one strength called ``name`` for these channels.
        name: The prefix of the names; the processes if it is None.
        negative: Whether strengths may be negative; without it 0 is their lower bound.
        interest: Whether the parameters are of interest.

    Raises:
        UnknownKeyError: If there is no such process, channel or axis.
        ShapeMismatchError: If the axes of the channels do not agree.

    Example:
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> pt = Axis("pt", edges=(0.0, 1.0, 5.0))
        >>> layout = Layout((Channel("ch0", (pt,)),), ("signal",))
        >>> model = AxisNorms(layout, "signal", "ch0", "pt")
        >>> model.rates({"signal_pt0": 0.9, "signal_pt1": 1.3})
        Array([[0.9, 1.3]], dtype=float64)
    """

    place: Int[Array | np.ndarray, "processes bins"]

    def __init__(
        self,
        layout: Layout,
        processes: Names,
        channels: Names,
        axes: Names,
        *,
        name: str | None = None,
        negative: bool = False,
        interest: bool = True,
    ) -> None:
        cells = cells_of(layout, channels, axes)
        self.layout = layout
        self.place = places(layout, processes, cells.index)
        kind = strength(negative=negative, interest=interest)
        names = cells.names(_prefix(name, processes))
        self.table = ParameterTable([(each, kind) for each in names])

    def vector_rates(self, values: Values) -> Rates:
        """Return the strength of each bin, and 1 elsewhere."""
        return spread(values, self.place)


class _AbstractAxisShape(AbstractStoredModel):
    """A function along an axis for each cell of other axes, linear in its parameters.

    Attributes:
        basis: The factors of the coefficients in the bins of the axis.
        place: The position of each rate in ``(1, *values of the function)``.
    """

    basis: Float[Array | np.ndarray, "positions coefficients"]
    place: Int[Array | np.ndarray, "processes bins"]

    def _values(self, values: Values) -> Float[Array, "positions cells"]:
        return jnp.matmul(self.basis, values.reshape(self.basis.shape[1], -1))


@final
class AxisExponential(_AbstractAxisShape):
    r"""Exponentials along an axis, :math:`\exp(a + b\,(x - x_0))`.

    :math:`x` is the centre of a bin. Each cell of the other axes has its own :math:`a`,
    called ``<name>_log_norm_<axis><bin>...``, and its own :math:`b`, called
    ``<name>_slope_<axis><bin>...``, whose unit is one over that of the axis. Both start
    at 0, where the rates are 1. The shape multiplies the nominal yields: a template
    that is flat in events per bin width becomes an exponential.

    Args:
        layout: Channels and processes.
        processes: The process with this shape, or several that share it.
        channels: The channel, or several that share it; their axes must agree.
        axis: The axis of x.
        by: The axes whose cells have parameters of their own; all others if it is None.
        origin: :math:`x_0`; in the middle of the axis norm and slope are least
            correlated.
        name: The prefix of the names; the processes if it is None.
        interest: Whether the parameters are of interest.

    Raises:
        UnknownKeyError: If there is no such process, channel or axis.
        ArgumentValueError: If bins along the axis have no finite centre, or if there
            are fewer than two of them.
        ShapeMismatchError: If the axes of the channels do not agree.

    Example:
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> mass = Axis("m", edges=(0.0, 2.0, 4.0))
        >>> layout = Layout((Channel("ch0", (mass,)),), ("qcd",))
        >>> model = AxisExponential(layout, "qcd", "ch0", "m")
        >>> model.rates({"qcd_log_norm": 0.0, "qcd_slope": -1.0}).round(3)
        Array([[0.368, 0.05 ]], dtype=float64)
    """

    def __init__(
        self,
        layout: Layout,
        processes: Names,
        channels: Names,
        axis: str,
        *,
        by: Names | None = None,
        origin: float = 0.0,
        name: str | None = None,
        interest: bool = False,
    ) -> None:
        grid = grid_of(layout, channels, axis, by)
        x = centres(grid.along) - origin
        check_degree(grid.along, 1)
        self.layout = layout
        self.basis = np.stack([np.ones_like(x), x], 1)
        self.place = places(layout, processes, grid.index)
        self.table = _coefficients(
            _prefix(name, processes),
            ["log_norm", "slope"],
            grid.across,
            RateParameter(0.0, interest=interest),
        )

    def vector_rates(self, values: Values) -> Rates:
        """Return the exponentials, and 1 elsewhere."""
        return spread(jnp.exp(self._values(values)), self.place)


@final
class AxisBernstein(_AbstractAxisShape):
    r"""Bernstein polynomials along an axis.

    The rate is :math:`\sum_k c_k \binom{n}{k} t^k (1 - t)^{n - k}`, where :math:`t`
    goes from 0 to 1 over the axis and is evaluated at the centres of bins. Each cell of
    the other axes has its own :math:`c_k`, called ``<name>_c<k>_<axis><bin>...``. All
    start at 1; since the polynomials of a degree add up to 1, so do the rates.
    Coefficients that are not negative make a rate that is not negative.

    Args:
        layout: Channels and processes.
        processes: The process with this shape, or several that share it.
        channels: The channel, or several that share it; their axes must agree.
        axis: The axis of t.
        degree: :math:`n`; there are n + 1 coefficients.
        by: The axes whose cells have coefficients of their own; all others if it is
            None.
        name: The prefix of the names; the processes if it is None.
        negative: Whether coefficients may be negative; without it 0 is their lower
            bound.
        interest: Whether the parameters are of interest.

    Raises:
        UnknownKeyError: If there is no such process, channel or axis.
        ArgumentValueError: If bins along the axis have no finite centre, if there are
            fewer than n + 1 of them, or if n is negative.
        ShapeMismatchError: If the axes of the channels do not agree.

    Example:
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> mass = Axis("m", edges=(0.0, 2.0, 4.0))
        >>> layout = Layout((Channel("ch0", (mass,)),), ("qcd",))
        >>> model = AxisBernstein(layout, "qcd", "ch0", "m", 1)
        >>> model.rates({"qcd_c0": 2.0, "qcd_c1": 1.0})
        Array([[1.75, 1.25]], dtype=float64)
    """

    def __init__(
        self,
        layout: Layout,
        processes: Names,
        channels: Names,
        axis: str,
        degree: int,
        *,
        by: Names | None = None,
        name: str | None = None,
        negative: bool = False,
        interest: bool = False,
    ) -> None:
        grid = grid_of(layout, channels, axis, by)
        t = fractions(grid.along)
        check_degree(grid.along, degree)
        self.layout = layout
        self.basis = bernstein_basis(t, degree)
        self.place = places(layout, processes, grid.index)
        self.table = _coefficients(
            _prefix(name, processes),
            [f"c{k}" for k in range(degree + 1)],
            grid.across,
            strength(negative=negative, interest=interest),
        )

    def vector_rates(self, values: Values) -> Rates:
        """Return the polynomials, and 1 elsewhere."""
        return spread(self._values(values), self.place)


def bernstein_basis(
    t: Float[np.ndarray, " n"], degree: int
) -> Float[np.ndarray, "n k"]:
    """Return the Bernstein polynomials of a degree at positions in [0, 1].

    Example:
        >>> bernstein_basis(np.array([0.5]), 2)
        array([[0.25, 0.5 , 0.25]])
    """
    k = np.arange(degree + 1)
    ways = np.array([math.comb(degree, i) for i in k], float)
    return ways * t[:, None] ** k * (1.0 - t[:, None]) ** (degree - k)


def _prefix(name: str | None, processes: Names) -> str:
    return "_".join(names_of(processes)) if name is None else name


def _coefficients(
    prefix: str, names: list[str], across: Cells, kind: RateParameter
) -> ParameterTable:
    """Return the parameters of a shape, ordered by coefficient, then by cell."""
    every = [cell for name in names for cell in across.names(f"{prefix}_{name}")]
    return ParameterTable([(each, kind) for each in every])
