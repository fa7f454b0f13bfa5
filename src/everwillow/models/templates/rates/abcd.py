"""Backgrounds predicted from control regions (ABCD methods)."""

from collections.abc import Mapping
from typing import ClassVar, final

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Layout
from everwillow.models.templates.rates._cells import Names
from everwillow.models.templates.rates._regions import (
    Prediction,
    Region,
    divide,
)
from everwillow.models.templates.rates.base import (
    AbstractVectorModel,
    ParameterTable,
)


class AbstractABCD(AbstractVectorModel):
    """A background in region D, a product of powers of what other regions have.

    Attributes:
        prediction: The norms of the regions and what they predict.
        powers: The power of each region in the prediction.
    """

    layout: Layout = eqx.field(static=True)
    table: ParameterTable = eqx.field(static=True)
    prediction: Prediction
    powers: eqx.AbstractClassVar[Mapping[str, int]]

    def __init__(
        self,
        layout: Layout,
        nominal: Float[np.ndarray, "processes bins"],
        process: str,
        regions: Mapping[str, Region],
        *,
        axes: Names | None = None,
        smooth_axis: str | None = None,
        degree: int = 2,
        corrected: bool = True,
        name: str | None = None,
        interest: bool = False,
    ) -> None:
        self.layout = layout
        divided = divide(layout, process, regions, self.powers, axes, smooth_axis)
        self.prediction = divided.prediction(nominal, degree, corrected=corrected)
        self.table = divided.table(name, degree, interest=interest)

    def vector_rates(
        self, values: Float[Array, " parameters"]
    ) -> Float[Array, "processes bins"]:
        """Return the rates in all regions, D among them, and 1 elsewhere."""
        return self.prediction(values)


@final
class ABCD(AbstractABCD):
    r"""A background in region D, predicted from regions A, B and C.

    .. math:: D = k\, C\, A / B, \qquad k = D_0 B_0 / (C_0 A_0)

    holds in each cell, a bin of the axes that the regions have in common. The yields in
    A, B and C are free: each cell has a norm in units of the nominal yield, called
    ``<name>_<region>_<axis><bin>...``, which starts at 1. The correction :math:`k` is
    the ratio of nominal yields, so that at the start the prediction is the nominal
    yield of D, and the simulation says only how far A/B and D/C differ.

    With `smooth_axis` the norms of a region are not free bin by bin but
    :math:`\exp \sum_k c_k T_k(t)` with Chebyshev polynomials, where :math:`t` goes from
    -1 to 1 over that axis and is taken at the centres of its bins. Then the
    coefficients ``<name>_<region>_c<k>_<axis><bin>...`` of each cell of the other axes
    are the parameters, which start at 0.

    Args:
        layout: Channels and processes.
        nominal: The nominal yields, ``nominal_yields(builder.spec())``.
        process: The background.
        regions: What ``"A"``, ``"B"``, ``"C"`` and ``"D"`` are: a channel, or a channel
            and one bin of some of its axes, such as ``("ch0", {"iso": 1, "mt": 0})``.
        axes: The axes of the cells; all that regions do not fix if it is None, without
            the smooth one.
        smooth_axis: The axis along which the norms are smooth; none if it is None.
        degree: The highest k of the Chebyshev polynomials.
        corrected: Whether to correct by the nominal yields; without it k is 1.
        name: What the names begin with; the process if it is None.
        interest: Whether they are parameters of interest.

    Raises:
        UnknownKeyError: If there is no such process, channel, axis, label or region.
        ShapeMismatchError: If the axes of the regions do not agree.
        ArgumentValueError: If regions overlap, if a cell of a region has no nominal
            yield, if bins along the smooth axis have no finite centre or are too few.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> layout = Layout(tuple(Channel(r, ()) for r in "ABCD"), ("fakes",))
        >>> nominal = np.array([[100.0, 50.0, 20.0, 44.0]])
        >>> model = ABCD(layout, nominal, "fakes", {r: r for r in "ABCD"})
        >>> model.rates({"fakes_A": 1.5, "fakes_B": 1.0, "fakes_C": 2.0})
        Array([[1.5, 1. , 2. , 3. ]], dtype=float64)
    """

    powers: ClassVar[Mapping[str, int]] = {"A": 1, "B": -1, "C": 1}


@final
class ExtendedABCD(AbstractABCD):
    r"""A background in region D, predicted from five regions.

    .. math::

        D = k\, \frac{C\, A_x\, B^2}{B_x\, A^2}
          = k\, C\, \frac{B}{A} \cdot \frac{B / A}{B_x / A_x}

    holds in each cell: the ratio of B to A extrapolates from C to D, and what it
    changes by from (Ax, Bx) to (A, B) it changes by once more. Everything else is as in
    `ABCD`.

    Args:
        layout: Channels and processes.
        nominal: The nominal yields, ``nominal_yields(builder.spec())``.
        process: The background.
        regions: What ``"A"``, ``"Ax"``, ``"B"``, ``"Bx"``, ``"C"`` and ``"D"`` are: a
            channel, or a channel and one bin of some of its axes.
        axes: The axes of the cells; all that regions do not fix if it is None, without
            the smooth one.
        smooth_axis: The axis along which the norms are smooth; none if it is None.
        degree: The highest k of the Chebyshev polynomials.
        corrected: Whether to correct by the nominal yields; without it k is 1.
        name: What the names begin with; the process if it is None.
        interest: Whether they are parameters of interest.

    Raises:
        UnknownKeyError: If there is no such process, channel, axis, label or region.
        ShapeMismatchError: If the axes of the regions do not agree.
        ArgumentValueError: If regions overlap, if a cell of a region has no nominal
            yield, if bins along the smooth axis have no finite centre or are too few.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> names = ("A", "Ax", "B", "Bx", "C", "D")
        >>> layout = Layout(tuple(Channel(r, ()) for r in names), ("fakes",))
        >>> nominal = np.full((1, 6), 10.0)
        >>> model = ExtendedABCD(layout, nominal, "fakes", {r: r for r in names})
        >>> norms = {f"fakes_{r}": 1.0 for r in names[:5]}
        >>> float(model.rates({**norms, "fakes_B": 3.0})[0, 5])
        9.0
    """

    powers: ClassVar[Mapping[str, int]] = {
        "A": -2,
        "Ax": 1,
        "B": 2,
        "Bx": -1,
        "C": 1,
    }


__all__ = ["ABCD", "AbstractABCD", "ExtendedABCD", "Region"]
