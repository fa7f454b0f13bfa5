r"""Regularisation of template fits: from text, and the corner of its L-curve.

A strength :math:`\tau` balances the misfit X, the difference of -ln L without the
penalty to that of a model that describes all data exactly, against the penalty P, the
sum of squared curvatures. On logarithmic axes the pairs (X, P) of several strengths
form an L: on its steep leg the fit follows statistical fluctuations, on its flat leg it
does not describe the data. The corner between them is the point of largest curvature
(Hansen, SIAM Rev. 34 (1992) 561).

A minimum of :math:`X + w P` with :math:`w = e^{2\tau}` moves with w by
:math:`-H^{-1} \nabla P`, so that :math:`P' = dP/dw = -\nabla P^T H^{-1} \nabla P`,
which is minus the variance of P propagated from the fit, and :math:`X' = -w P'`. Second
derivatives cancel in the curvature of :math:`(\ln X, \ln P)`,

.. math:: \kappa = \frac{X P\,(X P + w P' (X + w P))}{|P'|\,(X^2 + w^2 P^2)^{3/2}},

which is exact at each point.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from everwillow._errors import ArgumentValueError, NameOnly, unknown_key
from everwillow._html import Table, html_of
from everwillow._rounding import plain
from everwillow._typing import Key
from everwillow.fitting import FitResult, fit
from everwillow.goodness import saturated_test
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings import AbstractHistogramMapping, parse_mapping
from everwillow.mappings.tokens import tokenise
from everwillow.models.templates.likelihood.flat import FlatTemplates
from everwillow.models.templates.likelihood.regularisation import (
    Curvature,
    with_strength,
)
from everwillow.models.templates.model import TemplateModel
from everwillow.uncertainty import propagate
from everwillow.workflows.templates.results import Regularisation, StrengthScan


Smooth: TypeAlias = str | AbstractHistogramMapping | Curvature
"""A histogram that is regularised towards smoothness."""

Strength: TypeAlias = float | Sequence[float] | Literal["corner"]
"""τ of all regularised histograms, or of each, or at the corner of the L-curve."""

CORNER = "corner"
_PARAMETERS = "Parameters"


class NoCornerError(ArgumentValueError):
    """The L-curve has no corner, but the strength at the corner was requested.

    Attributes:
        l_curve: The curve.
    """

    l_curve: StrengthScan

    def __init__(self, message: str, l_curve: StrengthScan, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.l_curve = l_curve


class NamedParameters(eqx.Module):
    """The values of parameters in a row, as a histogram that is regularised."""

    patterns: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, params: Any, yields: Yields) -> Float[Array, " n"]:
        """Return the values, in the order of the model."""
        del yields
        for pattern in self.patterns:
            if not fnmatch.filter(params, pattern):
                raise unknown_key(pattern, params, where="regularise")
        chosen = [name for name in params if self._matches(name)]
        return jnp.concatenate([jnp.ravel(params[name]) for name in chosen])

    def labels(self, params: Any) -> tuple[str, ...]:
        """Return the name of the parameter of each value."""
        chosen = [name for name in params if self._matches(name)]
        return tuple(np.repeat(chosen, [np.size(params[name]) for name in chosen]))

    def _matches(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    def __repr__(self) -> str:
        """Return the text of the option."""
        return " ".join((_PARAMETERS, *self.patterns))


def curvatures_of(
    regularise: Smooth | Iterable[Smooth], strength: Strength | None, layout: Layout
) -> tuple[Curvature, ...]:
    """Return the curvatures that are regularised, with their strengths.

    Args:
        regularise: As in `everwillow.workflows.templates.run`.
        strength: As in `everwillow.workflows.templates.run`.
        layout: Channels and processes.

    Raises:
        ArgumentValueError: If the number of strengths is not valid, or no histogram is
            regularised.
    """
    one = isinstance(regularise, str | AbstractHistogramMapping | Curvature)
    given: Any = (regularise,) if one else tuple(regularise)
    if not given and strength is not None:
        raise ArgumentValueError(
            "strength: nothing is regularised.",
            mend="Say what: {regularise}.",
            settings={"regularise": "Select CHANNEL"},
        )
    curvatures = [_read(each, layout) for each in given]
    if strength is None or isinstance(strength, str):
        if strength not in (None, CORNER):
            raise ArgumentValueError(
                f"strength: expected numbers or {CORNER!r}, got {strength!r}."
            )
        return tuple(curvatures)
    numbers = list(np.atleast_1d(np.asarray(strength, float)))
    if len(numbers) not in (1, len(curvatures)):
        raise ArgumentValueError(
            f"strength: {len(numbers)} values for {len(curvatures)} regularised "
            "histograms. Give one for all, or one for each."
        )
    numbers = numbers * len(curvatures) if len(numbers) == 1 else numbers
    return tuple(
        part.with_strength(float(number))
        for part, number in zip(curvatures, numbers, strict=True)
    )


def _read(one: Smooth, layout: Layout) -> Curvature:
    if isinstance(one, Curvature):
        return one
    if isinstance(one, AbstractHistogramMapping):
        one.axes(layout)
        return Curvature(one)
    names = [piece.name() for piece in tokenise("regularise", one)]
    if names[:1] == [_PARAMETERS]:
        if len(names) == 1:
            raise ArgumentValueError(
                f"regularise: expected {_PARAMETERS} PATTERN ..., got {one!r}."
            )
        return Curvature(NamedParameters(tuple(names[1:])))
    return _read(parse_mapping(one), layout)


def smoothed(
    model: TemplateModel,
    strength: Strength | None,
    strengths: Sequence[float] | None,
    max_steps: int,
) -> tuple[TemplateModel, Regularisation | None]:
    """Make the L-curve, and use its corner as strength, if the options request it.

    Args:
        model: The model, regularised or not.
        strength: As in `everwillow.workflows.templates.run`.
        strengths: The strengths of the L-curve; None for no L-curve.
        max_steps: As in `everwillow.fit`, for each fit.

    Raises:
        ArgumentValueError: If nothing is regularised.
        NoCornerError: If the curve has no corner; the error has the curve.
    """
    penalty = model.terms.penalty
    if penalty is None:
        if strengths is not None:
            raise ArgumentValueError(
                "l_curve: nothing is regularised. Choose histograms with {regularise}.",
                settings={"regularise": NameOnly},
            )
        return model, None
    scan = None
    if strengths is not None:
        curve = l_curve(model, np.asarray(strengths, float), max_steps=max_steps)
        names = [field.name for field in dataclasses.fields(StrengthScan)]
        scan = StrengthScan(**{name: getattr(curve, name) for name in names})
        if model.hidden:
            scan = dataclasses.replace(scan, penalty=None)
    if strength == CORNER:
        model = with_strength(model, _corner(scan))
    assert model.terms.penalty is not None
    curvatures = model.terms.penalty.curvatures
    names = tuple(
        getattr(part.mapping, "key", None) or repr(part.mapping) for part in curvatures
    )
    values = np.array([float(part.strength) for part in curvatures])
    return model, Regularisation(names, values, scan)


def _corner(scan: StrengthScan | None) -> float:
    if scan is None:
        raise ArgumentValueError(
            "strength: 'corner' is the corner of the L-curve. Ask for one: {l_curve}.",
            settings={"l_curve": ...},
        )
    if np.isnan(scan.corner):
        low, high = scan.strengths[0], scan.strengths[-1]
        raise NoCornerError(
            f"strength: the L-curve from {low:g} to {high:g} has no corner. Scan "
            "further, or more finely, with {l_curve}, or choose a number.",
            scan,
            settings={"l_curve": NameOnly},
        )
    return scan.corner


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class LCurve:
    r"""Fits with a regularisation of several strengths.

    All numbers of a failed fit are NaN, and its status gives the reason.

    Attributes:
        strengths: τ, ascending, shape ``(m,)``.
        nll: -ln L without the penalty, shape ``(m,)``.
        misfit: `nll` minus the -ln L of a model that describes data and auxiliary data
            exactly, shape ``(m,)``.
        penalty: The sum of squared curvatures of all regularised histograms, without
            the weight :math:`e^{2\tau}`, shape ``(m,)``.
        curvature: The curvature of the curve ``(ln misfit, ln penalty)``, positive
            where it bends like an L, shape ``(m,)``; NaN where a fit has no Hessian.
        fits: The fits.
    """

    strengths: Float[np.ndarray, " m"]
    nll: Float[np.ndarray, " m"]
    misfit: Float[np.ndarray, " m"]
    penalty: Float[np.ndarray, " m"]
    curvature: Float[np.ndarray, " m"]
    fits: tuple[FitResult, ...]

    @property
    def corner(self) -> float:
        """The strength at the largest local maximum of the curvature.

        NaN if there is no local maximum: curves of problems that need no regularisation
        end on the weak side without a corner.
        """
        known = np.where(np.isfinite(self.curvature), self.curvature, -np.inf)
        inner = known[1:-1]
        local = (inner > known[:-2]) & (inner > known[2:]) & (inner > 0)
        if not local.any():
            return float("nan")
        return float(self.strengths[1 + np.argmax(np.where(local, inner, -np.inf))])

    def __repr__(self) -> str:
        """Return the range of strengths and the corner in one line."""
        low, high = (plain(float(self.strengths[i]), 6) for i in (0, -1))
        good = sum(bool(one.success) for one in self.fits)
        return (
            f"LCurve(strengths {low} to {high}, corner "
            f"at {self.corner:g}; {good} of {len(self.fits)} fits ended at a minimum)"
        )

    def _repr_html_(self) -> str:
        """Return a table of the strengths for notebooks."""
        names = ("misfit", "penalty", "curvature")
        columns = zip(self.strengths, *(getattr(self, n) for n in names), strict=True)
        rows = [tuple(plain(float(number)) for number in row) for row in columns]
        return html_of([Table([("strength", *names), *rows]), repr(self)])


def l_curve(
    model: TemplateModel,
    strengths: ArrayLike,
    *,
    observation: Any = None,
    fixed: Mapping[Key, Any] | None = None,
    max_steps: int = 256,
    minimise: Callable[..., FitResult] = fit,
) -> LCurve:
    """Fit a regularised model with several strengths, in ascending order.

    Each fit starts at the minimum before, and all run the same compiled program.

    Args:
        model: A template model with regularisation.
        strengths: τ, in any order; each is used for all regularised histograms.
        observation: Data; those of the model if None.
        fixed: As in `everwillow.fit`.
        max_steps: As in `everwillow.fit`.
        minimise: A function in place of `everwillow.fit`, with the same arguments.

    Returns:
        The curve; failed fits are NaN.

    Raises:
        ArgumentValueError: If the model has no regularisation, or there are no
            strengths, or one is not finite.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder
        >>> from everwillow.models.templates.likelihood.regularisation import Curvature
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0, 3.0])], "ch0")
        >>> builder.add_data(np.array([100.0, 130.0, 90.0]), "ch0")
        >>> for i, row in enumerate(100 * np.eye(3)):
        ...     builder.add_process(
        ...         row, f"bin{i}", "ch0", signal=True, variances=np.zeros(3)
        ...     )
        >>> model = TemplateModel.from_spec(
        ...     builder.spec(),
        ...     regularisation=Curvature(lambda params, yields: yields["ch0"]),
        ... )
        >>> curve = l_curve(model, [0.0, 1.0, 2.0])
        >>> print(curve.penalty.round(4))
        [0.5082 0.1246 0.0067]
    """
    points = np.unique(np.asarray(strengths, float))
    if not points.size or not np.all(np.isfinite(points)):
        raise ArgumentValueError(
            f"strengths: expected finite numbers, got {strengths!r}."
        )
    bare = _Penalty(
        with_strength(model, 0.0).terms,
        (model.observation if observation is None else observation)["main"],
    )
    data = model.observation if observation is None else observation
    start, rows, fits = model.state, [], []
    for strength in points:
        here = with_strength(model, strength)
        result = minimise(
            here, start, data, fixed=fixed, max_steps=max_steps, throw=False
        )
        fits.append(result)
        if not bool(result.success):
            rows.append((np.nan,) * 4)
            continue
        start = result.params
        rows.append(_point(here, result, data, bare, np.exp(2 * strength)))
    nll, misfit, penalty, curvature = np.array(rows).T
    return LCurve(points, nll, misfit, penalty, curvature, tuple(fits))


class _Penalty(eqx.Module):
    """The penalty without its weight, as a function of the parameters."""

    terms: FlatTemplates
    main: Any

    def __call__(self, params: Any) -> Float[Array, ""]:
        vector = self.terms.physical(ravel_pytree(params)[0])
        return jnp.sum(self.terms.penalty_roots(vector, self.main) ** 2)


def _point(
    model: TemplateModel, result: FitResult, data: Any, bare: _Penalty, weight: float
) -> tuple[float, float, float, float]:
    """Return -ln L without the penalty, misfit, penalty and curvature."""
    if result.hessian is None:
        none = jnp.zeros((len(result.free),) * 2)
        propagated = propagate(bare, result, none, throw=False)
    else:
        propagated = propagate(bare, result, throw=False)
    penalty = float(propagated.values)
    slope = -(float(propagated.errors) ** 2) if result.hessian is not None else np.nan
    misfit = float(saturated_test(model, result, data).statistic) / 2
    nll = float(result.nll) - weight * penalty
    return nll, misfit, penalty, bent(misfit, penalty, slope, weight)


def bent(misfit: float, penalty: float, slope: float, weight: float) -> float:
    """Return the curvature of an L-curve; NaN where its logarithms do not exist.

    Args:
        misfit: X.
        penalty: P.
        slope: P', negative.
        weight: w.

    Example:
        >>> round(bent(1.0, 1.0, -0.25, 1.0), 3)
        0.707
    """
    if not (misfit > 0 and penalty > 0 and slope < 0):
        return float("nan")
    both = misfit * penalty
    size = (misfit**2 + (weight * penalty) ** 2) ** 1.5
    turn = both + weight * slope * (misfit + weight * penalty)
    return both * turn / (-slope * size)
