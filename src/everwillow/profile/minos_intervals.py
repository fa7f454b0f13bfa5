"""Asymmetric intervals from the rise of the profile likelihood to a given level."""

import warnings
from collections.abc import Iterable
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow._html import Part, Table, html_of, text_of
from everwillow._numerics import is_traced, namespace
from everwillow._progress import stage
from everwillow._rounding import alike, counted
from everwillow._typing import Key
from everwillow.fitting import FitResult
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.fitting.result import Values
from everwillow.profile._best_fit import (
    BestFit,
    ProfileProblem,
    confidence,
    pose_profile,
)
from everwillow.profile._crossing_search import CROSSING, crossings
from everwillow.profile._lower_minima import slack
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


ENDS = (
    "found",
    "at_bound",
    "no_crossing",
    "new_minimum",
    "fit_failed",
    "below_rounding",
)


class MinosResult(eqx.Module):
    """Asymmetric intervals of some parameters.

    Attributes:
        names: The parameters.
        cl: The confidence level of each interval.
        values: The best-fit values, shape ``(k,)``.
        lower: The negative errors, at most zero, shape ``(k,)``. NaN if the level is
            not crossed; the distance to the bound if that is reached first.
        upper: The positive errors, shape ``(k,)``, with the same exceptions.
        lower_status: How each search for a lower end ended, shape ``(k,)``; compare it
            with the members of `CROSSING`: ``result.lower_status == CROSSING.found``.
        upper_status: How each search for an upper end ended.
        lower_params: All parameters at the lower ends, entries of shape ``(k, ...)``;
            NaN without an end.
        upper_params: All parameters at the upper ends.
        minimum: The free fit, or the fit to a deeper minimum if one was found.
        held: The parameters that were held at their best fit.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    cl: float = eqx.field(static=True)
    values: Float[Values, " k"]
    lower: Float[Values, " k"]
    upper: Float[Values, " k"]
    lower_status: CROSSING
    upper_status: CROSSING
    lower_params: State
    upper_params: State
    minimum: FitResult
    held: tuple[str, ...] = eqx.field(static=True)

    @property
    def new_minimum(self) -> Any:
        """Whether a deeper minimum was found; then refit from ``minimum``."""
        return (
            (self.lower_status == CROSSING.new_minimum)
            | (self.upper_status == CROSSING.new_minimum)
        ).any()

    def __repr__(self) -> str:
        """Return a table of the intervals."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        if is_traced(self):
            return [f"MinosResult({', '.join(self.names)}; traced)"]
        rows: list[tuple[str, ...]] = [("parameter", "value", "lower", "upper", "")]
        ends = words_of(self.lower_status), words_of(self.upper_status)
        for i, name in enumerate(self.names):
            words = zip(("lower", "upper"), (end[i] for end in ends), strict=True)
            notes = [f"{side}: {word}" for side, word in words if word != "found"]
            errors = self.lower[i], self.upper[i]
            least = min((abs(float(x)) for x in errors if np.isfinite(x)), default=0.0)
            value, lower, upper = alike([self.values[i], *errors], least)
            upper = f"+{upper}" if np.isfinite(errors[1]) else upper
            rows.append((name, value, lower, upper, "; ".join(notes)))
        if not any(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
        return [Table(rows)]


def words_of(status: Any) -> list[str]:
    """Return how each search ended, in words: ``"found"``, ``"at bound"``, ..."""
    out = np.full(np.shape(status == CROSSING.found), "", dtype=object)
    for word in ENDS:
        out[np.asarray(status == getattr(CROSSING, word))] = word.replace("_", " ")
    return out.tolist()


@takes_options(FitOptions)
def minos(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    names: Iterable[Key] | None = None,
    cl: float = 0.6827,
    held: Iterable[str] = (),
    **options: Unpack[FitOptions],
) -> MinosResult:
    r"""Find asymmetric intervals from the profile likelihood.

    The ends are where -ln L, minimised over all other parameters, has risen by
    :math:`z^2/2` above its minimum, with z the two-sided normal quantile of `cl`; for
    68.27 % that is ½, and the ends of a parabola are one standard error away.

    Args:
        nll_fn: -ln L, or a Model, as in `fit`; likewise what is not listed here.
        params: Start values, or the result of the free fit, which is then not repeated.
        observation: Data.
        names: The parameters, or elements such as ``"gamma[3]"``; all free ones if
            None.
        cl: Confidence level of each interval by itself, between 0 and 1.
        held: Names or patterns of parameters to hold at their best fit.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Returns:
        The intervals. If a search finds a deeper minimum, or a fall of -ln L on the way
        outwards, the fit is repeated from there. If it ends deeper, ``result.minimum``
        is the new minimum, that error is NaN, and a warning is emitted. (In compiled
        code the fit is not repeated; the status shows a deeper minimum.)

    Raises:
        UnknownKeyError: If there is no parameter of such a name.
        ArgumentValueError: If a parameter is fixed or held, or `cl` is not between 0
            and 1.
        FitError: If the free fit failed.

    Example:
        >>> import jax.numpy as jnp
        >>> import everwillow as ew
        >>> from everwillow.profile import minos
        >>> def nll(params, n):
        ...     return params["rate"] - n * jnp.log(params["rate"])
        >>> result = minos(nll, ew.State.from_pytree({"rate": 5.0}), 9.0)
        >>> print(f"{result.lower[0]:.4f} {result.upper[0]:+.4f}")
        -2.6764 +3.3423
    """
    cl = confidence(cl)
    posed = pose_profile(nll_fn, params, observation, held=held, **options)
    places = _places(posed, names)
    fitted = posed.best_fit()
    problem, count = fitted.problem, places.size
    value, status, x, beyond = _ends(fitted, places, cl)
    best = fitted.base.x[places]
    minimum = fitted.minimum
    if not is_traced(value):
        status, minimum = _deeper(fitted, places, status, x, beyond)
    xp = namespace(value)
    ended = (status == CROSSING.found) | (status == CROSSING.at_bound)
    errors = xp.where(ended, value - xp.concatenate([best, best]), np.nan)
    ends = xp.where(ended[:, None], x, np.nan)
    return MinosResult(
        names=tuple(problem.labels[i] for i in places),
        cl=cl,
        values=best,
        lower=errors[:count],
        upper=errors[count:],
        lower_status=jax.tree.map(lambda code: code[:count], status),
        upper_status=jax.tree.map(lambda code: code[count:], status),
        lower_params=fitted.states(ends[:count]),
        upper_params=fitted.states(ends[count:]),
        minimum=minimum,
        held=fitted.held_names,
    )


def _places(posed: ProfileProblem, names: Iterable[Key] | None) -> np.ndarray:
    """Return the positions of parameters, all free ones if none are named."""
    if names is None:
        places = np.array([p for p in posed.problem.free if not posed.held[p]], int)
    else:
        names = [names] if isinstance(names, str) else names
        place = [posed.problem.positions(name, where="names") for name in names]
        places = np.concatenate(place or [np.zeros(0, int)])
    if places.size == 0 or np.any(posed.held[places]):
        raise ArgumentValueError(
            "names: expected one or more parameters that are neither fixed nor held."
        )
    return places


def _ends(fitted: BestFit, places: np.ndarray, cl: float) -> tuple[Any, Any, Any, Any]:
    """Search all lower ends, then all upper ones, by `crossings`."""
    level = ndtri(0.5 + 0.5 * jnp.asarray(cl, float))
    sides = np.repeat([-1.0, 1.0], places.size)
    with stage(f"MINOS intervals of {counted(len(places), 'parameter')}"):
        return fitted.call(crossings, np.concatenate([places, places]), sides, level)


def _deeper(
    fitted: BestFit, places: np.ndarray, status: Any, x: Any, beyond: Any
) -> tuple[Any, FitResult]:
    """Fit from points of a possible deeper minimum, and warn if there is one.

    Returns:
        The status of each search, and the deepest minimum.
    """
    met = np.array(status == CROSSING.new_minimum)
    minimum, names = fitted.minimum, [fitted.problem.labels[i] for i in places]
    points = np.where(met[:, None], x, beyond)
    best, first = minimum, -1
    for i in np.nonzero(np.all(np.isfinite(points), axis=1))[0]:
        fit = fitted.problem.at(fitted.states(points[i])).fit(throw=False)
        depth = float(minimum.nll - fit.nll)
        met[i] |= bool(fit.success) and depth > slack(minimum)
        if bool(fit.success) and fit.nll < best.nll:
            best = fit
        first = i if met[i] and first < 0 else first
    if first < 0:
        return status, minimum
    status = jax.tree.map(
        lambda new, old: np.where(met, new, old), CROSSING.new_minimum, status
    )
    text = (
        f"minos: on the way from {names[first % len(names)]!r} -ln L fell below its "
        f"minimum, {float(minimum.nll):.10g}"
    )
    if best is minimum:
        text += ". A fit from there failed: start the first one elsewhere."
    else:
        text += (
            f", to {float(best.nll):.10g}. The new minimum is in `result.minimum`: "
            "call minos again with it as `params`."
        )
    warnings.warn(text, stacklevel=4)
    return status, best
