"""Backgrounds predicted from control regions (ABCD methods)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import ArgumentValueError, ShapeMismatchError, unknown_key
from everwillow.likelihood.histograms import Axis, Layout
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.rates._cells import (
    Cells,
    Names,
    cells_of,
    check_degree,
    fractions,
    grid_of,
    places,
)
from everwillow.models.templates.rates.base import (
    AbstractStoredModel,
    ParameterTable,
    RateParameter,
    Rates,
    Values,
)


Region: TypeAlias = str | tuple[str, Mapping[str, int | str]]
"""A channel; or its name and for some of its axes the one bin, by number or label."""

PREDICTED = "D"
_LEAST = 1e-6  # the lower bound of a norm that divides


@final
class Prediction(eqx.Module):
    """Rates in control regions, and those that they predict.

    Attributes:
        place: The position of each rate in ``(1, *rates of regions, *predicted
            rates)``.
        basis: The Chebyshev polynomials at positions along the smooth axis; None if
            norms are free.
        correction: The factor of the predicted rate of each cell.
        powers: The power of each region in the prediction.
    """

    place: Int[Array | np.ndarray, "processes bins"]
    basis: Float[Array | np.ndarray, "positions coefficients"] | None
    correction: Float[Array | np.ndarray, " cells"]
    powers: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, values: Values) -> Rates:
        """Return all rates; 1 outside of the regions."""
        regions = len(self.powers)
        if self.basis is None:
            rates = values.reshape(regions, -1)
            # Not by logarithms, so that a norm of 0 has a derivative.
            predicted = jnp.ones_like(rates[0])
            for rate, power in zip(rates, self.powers, strict=True):
                predicted = predicted * rate**power
        else:
            coefficients = values.reshape(regions, self.basis.shape[1], -1)
            logs = jnp.einsum("pk,rkc->rpc", self.basis, coefficients)
            logs = logs.reshape(regions, -1)
            rates = jnp.exp(logs)
            predicted = jnp.exp(jnp.array(self.powers, logs.dtype) @ logs)
        predicted = predicted * self.correction
        pool = [jnp.ones(1, values.dtype), rates.ravel(), predicted]
        return jnp.concatenate(pool).at[self.place].get(mode="promise_in_bounds")


@dataclass(frozen=True, slots=True)
class Division:
    """The division of regions into cells.

    Attributes:
        layout: Channels and processes.
        process: The background.
        powers: The power of each control region in the prediction.
        across: The cells with separate parameters.
        along: The axis along which norms are smooth; None if they are free.
        index: The cell of each region and bin, or -1; with a smooth axis the flat index
            in ``(bins along it, cells)``.
    """

    layout: Layout
    process: str
    powers: Mapping[str, int]
    across: Cells
    along: Axis | None
    index: dict[str, Int[np.ndarray, " bins"]]

    @property
    def size(self) -> int:
        """Number of rates in a region."""
        return self.across.size * (1 if self.along is None else self.along.size)

    def table(self, name: str | None, degree: int, *, interest: bool) -> ParameterTable:
        """Make the parameters, region by region."""
        prefix = self.process if name is None else name
        parameters: list[tuple[str, RateParameter]] = []
        for region, power in self.powers.items():
            if self.along is None:
                lower = _LEAST if power < 0 else 0.0
                kind = RateParameter(1.0, lower, interest=interest)
                names = self.across.names(f"{prefix}_{region}")
            else:
                kind = RateParameter(0.0, interest=interest)
                names = [
                    cell
                    for k in range(degree + 1)
                    for cell in self.across.names(f"{prefix}_{region}_c{k}")
                ]
            parameters += [(each, kind) for each in names]
        return ParameterTable(parameters)

    def prediction(
        self,
        nominal: Float[np.ndarray, "processes bins"],
        degree: int,
        *,
        corrected: bool,
    ) -> Prediction:
        """Compile the arrays.

        Raises:
            ShapeMismatchError: If `nominal` has another shape than the layout.
            ArgumentValueError: If a cell has no nominal yield, or if positions along
                the smooth axis are too few for the degree.
        """
        yields = self._yields(nominal, corrected=corrected)
        correction = np.ones(self.size)
        if not corrected:
            correction /= yields[PREDICTED]
            for region, power in self.powers.items():
                correction *= yields[region] ** power
        basis = None
        if self.along is not None:
            t = 2.0 * fractions(self.along) - 1.0
            check_degree(self.along, degree)
            basis = np.polynomial.chebyshev.chebvander(t, degree)
        index = np.full(self.layout.bins, -1, np.int32)
        for number, place in enumerate(self.index.values()):
            inside = place >= 0
            if np.any(index[inside] >= 0):
                raise ArgumentValueError(
                    f"regions: {list(self.index)[number]!r} overlaps with another."
                )
            index[inside] = place[inside] + np.int32(number * self.size)
        return Prediction(
            place=places(self.layout, self.process, index),
            basis=basis,
            correction=correction,
            powers=tuple(self.powers.values()),
        )

    def _yields(
        self, nominal: Float[np.ndarray, "processes bins"], *, corrected: bool
    ) -> dict[str, Float[np.ndarray, " cells"]]:
        """Add up the nominal yields of each cell, which must not be zero."""
        expected = (len(self.layout.processes), self.layout.bins)
        if np.shape(nominal) != expected:
            raise ShapeMismatchError(
                f"nominal: expected the yields of all processes in all bins, shape "
                f"{expected}, got {np.shape(nominal)}."
            )
        row = np.asarray(nominal, float)[self.layout.process(self.process)]
        out = {}
        for region, place in self.index.items():
            inside = place >= 0
            total = np.bincount(place[inside], row[inside], self.size)
            # Along a smooth axis coefficients are common to all bins: single bins may
            # be empty, unless the correction divides by them.
            cells = total.reshape(-1, self.across.size)
            tested = cells.sum(0) if corrected else cells.min(0)
            if not np.all(tested > 0):
                bad = self.across.names("")[int(np.argmin(tested > 0))].lstrip("_")
                where = f"region {region!r}" + (f", cell {bad!r}" if bad else "")
                raise ArgumentValueError(
                    f"process {self.process!r} has no positive nominal yield in "
                    f"{where}: a norm would act on nothing, or a prediction have "
                    "nothing to scale. Merge bins, or choose fewer `axes`."
                )
            out[region] = total
        return out


def divide(
    layout: Layout,
    process: str,
    regions: Mapping[str, Region],
    powers: Mapping[str, int],
    axes: Names | None,
    smooth_axis: str | None,
) -> Division:
    """Divide regions into cells.

    Args:
        layout: Channels and processes.
        process: The background.
        regions: The regions by name.
        powers: The power of each control region in the prediction of region D.
        axes: The axes of the cells; None for all axes that a region does not fix.
        smooth_axis: The axis along which norms are smooth; none if it is None.

    Raises:
        UnknownKeyError: If a region is not one of the method, or there is no such
            process, channel, axis or label.
        ArgumentValueError: If a region is missing.
        ShapeMismatchError: If the axes of the regions do not agree.
    """
    layout.process(process)
    names = [*powers, PREDICTED]
    for name in regions:
        if name not in names:
            raise unknown_key(name, names, where="regions")
    missing = [name for name in names if name not in regions]
    if missing:
        raise ArgumentValueError(
            f"regions: {missing} are missing; the method needs all of {names}."
        )
    index: dict[str, Int[np.ndarray, " bins"]] = {}
    common: tuple[Cells, Axis | None] | None = None
    for name in names:
        region = regions[name]
        channel, where = (region, {}) if isinstance(region, str) else region
        if smooth_axis is None:
            across, along = cells_of(layout, channel, axes, where=where), None
            index[name] = across.index
        else:
            grid = grid_of(layout, channel, smooth_axis, axes, where=where)
            across, along, index[name] = grid.across, grid.along, grid.index
        common = common or (across, along)
        if (across.axes, along) != (common[0].axes, common[1]):
            raise _disagreement(names[0], common[0], name, across)
    across, along = common or (Cells((), np.zeros(0, np.int32)), None)
    return Division(layout, process, powers, across, along, index)


def _disagreement(one: str, cells: Cells, other: str, others: Cells) -> Exception:
    return ShapeMismatchError(
        f"regions {one!r} and {other!r} cannot be compared bin by bin: their axes "
        f"{[a.name for a in cells.axes]} and {[a.name for a in others.axes]}, or the "
        "smooth axis, differ in names, edges or labels. Fix the axes that tell the "
        'regions apart, as in ("ch0", {"iso": 1}), or name the common ones in `axes`.'
    )


def nominal_yields(spec: TemplateSpec) -> Float[np.ndarray, "processes bins"]:
    """Return the nominal yield of each process in each bin of all channels.

    Args:
        spec: The specification of a builder, ``builder.spec()``.

    Example:
        >>> from everwillow.models.templates.booking.builder import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([3.0, 0.0], "fakes", "ch0")
        >>> nominal_yields(builder.spec())
        array([[3., 0.]])
    """
    out = np.zeros((len(spec.layout.processes), spec.layout.bins))
    rows = spec.templates
    out[rows.process, rows.bin] = rows.nominal
    return out


class AbstractABCD(AbstractStoredModel):
    """A background in region D, a product of powers of the yields in other regions.

    Attributes:
        prediction: The norms of the regions and the prediction from them.
        powers: The power of each region in the prediction.
    """

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

    def vector_rates(self, values: Values) -> Rates:
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
    yield of D, and only the difference of A/B and D/C comes from simulation.

    With `smooth_axis` the norms of a region are :math:`\exp \sum_k c_k T_k(t)` with
    Chebyshev polynomials, where :math:`t` goes from -1 to 1 over that axis and is
    evaluated at the centres of its bins. The parameters are the coefficients
    ``<name>_<region>_c<k>_<axis><bin>...`` of each cell of the other axes, which start
    at 0.

    Args:
        layout: Channels and processes.
        nominal: The nominal yields, ``nominal_yields(builder.spec())``.
        process: The background.
        regions: The regions ``"A"``, ``"B"``, ``"C"`` and ``"D"``: a channel, or a
            channel and one bin of some of its axes, such as
            ``("ch0", {"iso": 1, "mt": 0})``.
        axes: The axes of the cells; None for all axes that regions do not fix, without
            the smooth one.
        smooth_axis: The axis along which the norms are smooth; none if it is None.
        degree: The highest k of the Chebyshev polynomials.
        corrected: Whether to correct by the nominal yields; without it k is 1.
        name: The prefix of the names; the process if it is None.
        interest: Whether the parameters are of interest.

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

    holds in each cell: the ratio of B to A extrapolates from C to D, and changes by the
    same factor as from (Ax, Bx) to (A, B). Everything else is as in `ABCD`.

    Args:
        layout: Channels and processes.
        nominal: The nominal yields, ``nominal_yields(builder.spec())``.
        process: The background.
        regions: The regions ``"A"``, ``"Ax"``, ``"B"``, ``"Bx"``, ``"C"`` and ``"D"``:
            a channel, or a channel and one bin of some of its axes.
        axes: The axes of the cells; None for all axes that regions do not fix, without
            the smooth one.
        smooth_axis: The axis along which the norms are smooth; none if it is None.
        degree: The highest k of the Chebyshev polynomials.
        corrected: Whether to correct by the nominal yields; without it k is 1.
        name: The prefix of the names; the process if it is None.
        interest: Whether the parameters are of interest.

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

    powers: ClassVar[Mapping[str, int]] = {"A": -2, "Ax": 1, "B": 2, "Bx": -1, "C": 1}


__all__ = ["ABCD", "AbstractABCD", "ExtendedABCD", "Region", "nominal_yields"]
