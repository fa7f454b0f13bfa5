"""Contours of the profile likelihood in two parameters, followed along the curve."""

import warnings
from collections.abc import Iterable
from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from everwillow._errors import ArgumentValueError
from everwillow._html import Table, html_of
from everwillow._numerics import is_traced
from everwillow._progress import stage
from everwillow._typing import Key
from everwillow.engine.layout import ravel_state
from everwillow.fitting import FitResult
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.fitting.result import Values
from everwillow.profile._best_fit import confidence, pose_profile
from everwillow.profile._contour_tracing import LONGEST, trace
from everwillow.profile.scans import ends_of, pair
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


FEWEST_POINTS = 8


class ContourResult(eqx.Module):
    """A curve of constant profile likelihood.

    Attributes:
        names: The two parameters.
        cl: The confidence level of the region inside, for two parameters.
        points: The points of the curve in order, shape ``(m, 2)``; the last point of a
            closed curve is the first one. Rows of NaN separate pieces if bounds cut the
            curve; in compiled code there are more such rows at the end.
        params: All parameters on the curve, entries of shape ``(m, ...)``.
        closed: Whether the curve is closed. An open curve ends at bounds or at a failed
            fit, or was too long.
        num_fits: The number of conditional fits.
        minimum: The free fit.
        held: The parameters that were held at their best fit.
    """

    names: tuple[str, str] = eqx.field(static=True)
    cl: float = eqx.field(static=True)
    points: Float[Values, "m 2"]
    params: State
    closed: Bool[Values, ""]
    num_fits: Int[Values, ""]
    minimum: FitResult
    held: tuple[str, ...] = eqx.field(static=True)

    def __repr__(self) -> str:
        """Return a line with the parameters, the level and the number of points."""
        if is_traced(self):
            return f"ContourResult({self.names[0]}, {self.names[1]}; traced)"
        kind = "closed" if bool(self.closed) else "open"
        return (
            f"ContourResult({self.names[0]}, {self.names[1]}; {100 * self.cl:.4g} %, "
            f"{len(self.points)} points, {kind})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the ranges of the curve for notebooks."""
        if is_traced(self) or np.ndim(self.points) != 2 or np.isnan(self.points).all():
            return html_of([repr(self)])
        best = ravel_state(self.minimum.params)[1]
        labels = self.minimum.layout.labels
        rows = [
            (name, *ends_of(values, best[labels.index(name)]))
            for name, values in zip(self.names, np.transpose(self.points), strict=True)
        ]
        heads = ("parameter", "from", "to", "best fit")
        return html_of([Table([heads, *rows]), repr(self)])


@takes_options(FitOptions)
def contour(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    names: tuple[Key, Key],
    cl: float = 0.6827,
    points: int = 60,
    held: Iterable[str] = (),
    **options: Unpack[FitOptions],
) -> ContourResult:
    r"""Trace a curve of constant profile likelihood in two parameters.

    On it -ln L, minimised over all other parameters, has risen by
    :math:`-\ln(1 - \mathrm{cl})`: half the χ² quantile for two degrees of freedom, so
    that the region inside has the confidence level for both parameters together. (The
    curve at a rise of ½, whose extremes are the one-dimensional errors, has
    ``cl=0.3935``.) Every point is a conditional fit: a step along the curve predicts
    it, and a correction across the curve follows. Steps end at extremes of the two
    parameters, so that these points are exact. Thin, bent valleys take more points,
    some hundreds if they are bent by a thousand of their widths.

    Args:
        nll_fn: -ln L, or a Model, as in `fit`; likewise what is not listed here.
        params: Start values, or the result of the free fit, which is then not repeated.
        observation: Data.
        names: The two parameters.
        cl: Confidence level, between 0 and 1.
        points: Approximate number of points on an ellipse; curves that turn sharply
            take more.
        held: Names or patterns of parameters to hold at their best fit.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Returns:
        The curve, open where it meets bounds.

    Raises:
        UnknownKeyError: If there is no parameter of such a name.
        ArgumentValueError: If a parameter is fixed or held, if `cl` is not between 0
            and 1, or if `points` is not at least 8.
        FitError: If the free fit failed.

    Example:
        >>> import numpy as np
        >>> import everwillow as ew
        >>> from everwillow.profile import contour
        >>> def nll(params, data):
        ...     return 0.5 * (params["a"] - data) ** 2 + 0.5 * (params["b"] / 3) ** 2
        >>> start = ew.State.from_pytree({"a": 1.0, "b": 0.0})
        >>> curve = contour(nll, start, 1.0, names=("a", "b"), cl=0.3935)
        >>> print(curve.points.max(axis=0).round(2), bool(curve.closed))
        [2. 3.] True
    """
    cl = confidence(cl)
    if not isinstance(points, int | np.integer) or points < FEWEST_POINTS:
        raise ArgumentValueError(
            f"points: expected {FEWEST_POINTS} points or more, got {points!r}."
        )
    posed = pose_profile(nll_fn, params, observation, held=held, **options)
    places = np.array(pair(posed, names))
    fitted = posed.best_fit()
    problem = fitted.problem
    rise, blank = -jnp.log1p(-jnp.asarray(cl, float)), np.zeros(LONGEST * points)
    with stage(f"contour of {' and '.join(fitted.problem.labels[i] for i in places)}"):
        curve, x, count, closed, fits = fitted.call(trace, places, rise, blank)
    if is_traced(count):
        count = None
    elif not count:
        warnings.warn(
            "contour: no point of the curve was found: -ln L does not reach the level "
            "within the bounds, or fits on the way fail.",
            stacklevel=3,
        )
    return ContourResult(
        names=(problem.labels[places[0]], problem.labels[places[1]]),
        cl=cl,
        points=curve[:count],
        params=fitted.states(x[:count]),
        closed=closed,
        num_fits=fits,
        minimum=fitted.minimum,
        held=fitted.held_names,
    )
