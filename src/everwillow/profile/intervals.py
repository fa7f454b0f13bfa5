"""Asymmetric intervals: where the profile likelihood has risen by a given amount."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError
from everwillow._tree import format_table
from everwillow._typing import Key
from everwillow.fitting import FitResult, _execute
from everwillow.fitting._core import Task
from everwillow.fitting._layout import is_traced
from everwillow.fitting._outcome import scaled_solver
from everwillow.fitting._problem import Numbers
from everwillow.fitting.follow import Foothold
from everwillow.fitting.result import Values
from everwillow.fitting.run import Unset
from everwillow.profile._start import Start, begin
from everwillow.profile._walk import step_to
from everwillow.profile.scans import held_names, on_host
from everwillow.statelib import State


class CROSSING(eqx.Enumeration):
    """How the search for the end of an interval ended."""

    found = "The profile likelihood crosses the level here."
    at_bound = "The parameter reaches its bound before the level is crossed."
    no_crossing = "The profile likelihood does not reach the level, however far."
    new_minimum = "-ln L is smaller here than at the minimum of the free fit."
    fit_failed = "A fit with the parameter held did not end at a minimum."


# In units of standard errors; -ln L is known to its rounding, which may be coarser.
TOLERANCE = 1e-9
MOST_POINTS = 64
# A -ln L that is smaller than at the minimum by more than this is another minimum.
DEEPER = 1e-6
# Where the level is not crossed the search goes this many times further each time.
GROWTH = 2.0
# Beyond as many standard errors there is no crossing.
FAR = 1e9


class MinosResult(eqx.Module):
    """Asymmetric intervals of some parameters.

    Attributes:
        names: The parameters.
        cl: The confidence level of each interval.
        values: Their best-fit values, shape ``(k,)``.
        lower: The negative errors, at most zero, shape ``(k,)``. NaN where the level
            is not crossed; the distance to the bound where that is reached first.
        upper: The positive errors, likewise.
        lower_status: How each search went, to be compared with the members of
            `CROSSING`: ``result.lower_status == CROSSING.found``, shape ``(k,)``.
        upper_status: Likewise.
        lower_params: All parameters at the lower ends, entries of shape ``(k, ...)``.
        upper_params: Likewise.
        minimum: The free fit; the new one, where a deeper minimum was found.
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
        """Whether a deeper minimum was met: then refit from ``minimum`` and repeat."""
        return (
            (self.lower_status == CROSSING.new_minimum)
            | (self.upper_status == CROSSING.new_minimum)
        ).any()

    def __repr__(self) -> str:
        """Return a table of the intervals."""
        if is_traced(self):
            return f"MinosResult({', '.join(self.names)}; traced)"
        rows = [("parameter", "value", "lower", "upper", "")]
        words = {"lower": _words(self.lower_status), "upper": _words(self.upper_status)}
        for i, name in enumerate(self.names):
            notes = [
                f"{side}: {word[i]}"
                for side, word in words.items()
                if word[i] != "found"
            ]
            rows.append(
                (
                    name,
                    f"{self.values[i]:.6g}",
                    f"{self.lower[i]:.4g}",
                    f"{self.upper[i]:+.4g}",
                    "; ".join(notes),
                )
            )
        if not any(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
        return format_table(rows)


def _words(status: Any) -> list[str]:
    """Return the name of each status."""
    out = np.full(np.shape(status == CROSSING.found), "", dtype=object)
    for word in ("found", "at_bound", "no_crossing", "new_minimum", "fit_failed"):
        out[np.asarray(status == getattr(CROSSING, word))] = word.replace("_", " ")
    return out.tolist()


class _Search(eqx.Module):
    """Where a search stands: a point inside, one outside, and the next to try."""

    at: Foothold
    value: Float[Array, ""]
    inside: Float[Array, ""]
    outside: Float[Array, ""]
    status: CROSSING
    going: Any
    count: Any


def crossing(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    place: Array,
    side: Array,
    level: Array,
) -> tuple[Array, Any, Array]:
    """Find where the profile of one parameter has risen to a level.

    Solves ``sqrt(2 (nll - nll_min)) = level``, which is a straight line for a parabola,
    by Newton's method: the slope of the profile is the partial derivative of -ln L
    (envelope theorem). A bracket keeps it safe.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum.
        held: What else is held there, shape ``(n,)``.
        place: The position of the parameter.
        side: -1 or 1.
        level: In standard errors.

    Returns:
        The value of the parameter, a `CROSSING`, and all parameters there.
    """
    held = jnp.asarray(held)
    free = jnp.asarray(numbers.mask) & ~held & ~base.at_bound
    free = free.at[place].set(True)
    solve, _ = scaled_solver(base.hessian, free)
    unit = jnp.zeros_like(base.x).at[place].set(1)
    variance = solve(unit)[place]
    best = base.x[place]
    guess = jnp.where(jnp.abs(best) > 0, jnp.abs(best), 1)
    sigma = jnp.where(variance > 0, jnp.sqrt(jnp.abs(variance)), guess)
    end = _bound(numbers, place, side, base.x.dtype)
    held = held.at[place].set(True)
    epsilon = jnp.finfo(base.x.dtype).eps
    rounding = 16 * epsilon * jnp.abs(base.value)
    codes: Any = CROSSING

    def limited(value):
        return jnp.where(side > 0, jnp.minimum(value, end), jnp.maximum(value, end))

    def height(at: Foothold):
        rise = at.value - base.value
        root = jnp.sqrt(2 * jnp.maximum(rise, 0))
        slope = at.gradient[place] / jnp.where(root > 0, root, 1)
        return rise, root - level, slope

    def advance(s: _Search) -> _Search:
        x = s.at.x.at[place].set(s.value)
        at = step_to(task, numbers, s.at, held, x)
        rise, miss, slope = height(at)
        inside = jnp.where(miss < 0, s.value, s.inside)
        outside = jnp.where(miss >= 0, s.value, s.outside)
        newton = s.value - miss / slope
        tried = (s.value - best) * side
        bracketed = jnp.isfinite(outside)
        low, high = jnp.minimum(inside, outside), jnp.maximum(inside, outside)
        good = (newton > low) & (newton < high)
        within = jnp.where(good, newton, 0.5 * (low + high))
        ahead = (newton - s.value) * side
        reach = jnp.maximum(tried, sigma)
        further = jnp.where(
            ahead > 0, jnp.minimum(ahead, GROWTH * reach), GROWTH * reach
        )
        value = jnp.where(bracketed, within, limited(s.value + side * further))

        found = jnp.abs(miss) <= TOLERANCE + rounding / level
        narrow = bracketed & (high - low <= 4 * epsilon * jnp.abs(s.value))
        # The outermost value there is, and still inside.
        stopped = (s.value == end) & (miss < 0)
        deeper = rise < -(DEEPER + rounding)
        lost = (tried > FAR * sigma) & (miss < 0)
        status = codes.where(found | narrow, codes.found, s.status)
        status = codes.where(lost & ~found, codes.no_crossing, status)
        status = codes.where(stopped & ~found, codes.at_bound, status)
        status = codes.where(deeper, codes.new_minimum, status)
        status = codes.where(~at.success, codes.fit_failed, status)
        over = found | narrow | lost | stopped | deeper | ~at.success
        # The point of the end stays the one that was evaluated.
        value = jnp.where(over, s.value, value)
        return _Search(at, value, inside, outside, status, ~over, s.count + 1)

    start = _Search(
        at=base,
        value=limited(best + side * level * sigma),
        inside=best,
        outside=side * jnp.full_like(best, jnp.inf),
        status=codes.no_crossing,
        going=best != end,
        count=jnp.asarray(0),
    )
    found = jax.lax.while_loop(
        lambda s: s.going & (s.count < MOST_POINTS), advance, start
    )
    found = jax.lax.stop_gradient(found)
    status = codes.where(best == end, codes.at_bound, found.status)
    # One more Newton step, whose derivative is that of the crossing.
    at = step_to(task, numbers, found.at, held, found.at.x.at[place].set(found.value))
    _, miss, slope = height(at)
    polish = jnp.where(status == codes.found, miss / jax.lax.stop_gradient(slope), 0)
    value = jnp.where(status == codes.at_bound, end, found.value - polish)
    return value, status, at.x


def _bound(numbers: Numbers, place: Array, side: Array, dtype: Any) -> Array:
    """Return the end of the box on one side, infinite without one."""
    infinite = jnp.asarray(jnp.inf, dtype)
    if numbers.lower is None:
        return side * infinite
    lower, upper = jnp.asarray(numbers.lower), jnp.asarray(numbers.upper)
    return jnp.where(side > 0, upper[place], lower[place])


def crossings(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    places: Array,
    sides: Array,
    level: Array,
) -> tuple[Array, Any, Array]:
    """Find several crossings, one after the other in one program."""

    def one(job):
        place, side = job
        return crossing(task, numbers, base, held, place, side, level)

    return jax.lax.map(one, (places, sides))


def minos(
    nll_fn: Any,
    params: State | FitResult | None = None,
    observation: Any = Unset,
    *,
    names: Iterable[Key] | None = None,
    cl: float = 0.6827,
    held: Iterable[str] = (),
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
) -> MinosResult:
    r"""Find asymmetric intervals from the profile likelihood.

    The ends are where -ln L, minimised over all other parameters, has risen by
    :math:`z^2/2` above its minimum, with z the two-sided normal quantile of `cl`; for
    68.27 % that is ½, and the ends of a parabola are one standard error away.

    Args:
        nll_fn: -ln L, or a Model, as in `fit`; likewise what is not listed here.
        params: Start values; or the end of the free fit, which is then not repeated.
        observation: Data.
        names: The parameters, or elements such as ``"gamma[3]"``; all free ones if
            None.
        cl: Confidence level of each interval by itself, between 0 and 1.
        held: Names or patterns of parameters to hold at their best fit.
        fixed: As in `fit`; these are not fitted at all.
        bounds: As in `fit`.
        solver: As in `fit`.
        max_steps: As in `fit`.

    Returns:
        The intervals. Where a search meets a deeper minimum, the fit is repeated from
        there: ``result.minimum`` is the new one, the errors of that parameter are NaN,
        and a warning tells (not in compiled code).

    Raises:
        UnknownKeyError: If a name is that of no parameter.
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
    if not is_traced(cl) and not 0 < cl < 1:
        msg = f"cl: expected a confidence level between 0 and 1, got {cl!r}."
        raise ArgumentValueError(msg)
    start = begin(
        nll_fn,
        params,
        observation,
        held=held,
        fixed=fixed,
        bounds=bounds,
        solver=solver,
        max_steps=max_steps,
    )
    places = _places(start, names)
    problem = start.problem
    count = places.size
    level = ndtri(0.5 + 0.5 * jnp.asarray(cl, float))
    value, status, x = on_host(
        _execute.call(
            crossings,
            problem.task,
            problem.numbers,
            start.base,
            start.held,
            np.concatenate([places, places]),
            np.repeat([-1.0, 1.0], count),
            level,
        )
    )
    best = start.base.x[places]
    bad: Any = np
    if is_traced(value):
        bad = jnp
    ended = (status == CROSSING.found) | (status == CROSSING.at_bound)
    errors = bad.where(ended, value - bad.concatenate([best, best]), bad.nan)
    result = MinosResult(
        names=tuple(problem.labels[i] for i in places),
        cl=cl,
        values=best,
        lower=errors[:count],
        upper=errors[count:],
        lower_status=jax.tree.map(lambda code: code[:count], status),
        upper_status=jax.tree.map(lambda code: code[count:], status),
        lower_params=start.states(x[:count]),
        upper_params=start.states(x[count:]),
        minimum=start.minimum,
        held=held_names(start),
    )
    return _with_new_minimum(start, result, status, x)


def _places(start: Start, names: Iterable[Key] | None) -> np.ndarray:
    """Return the positions of parameters, all free ones if none are named."""
    if names is None:
        return np.array([p for p in start.problem.free if not start.held[p]], int)
    if isinstance(names, str):
        names = [names]
    found = [start.problem.positions(name, where="names") for name in names]
    places = np.concatenate(found or [np.zeros(0, int)])
    if places.size == 0 or np.any(start.held[places]):
        msg = "names: expected one or more parameters that are neither fixed nor held."
        raise ArgumentValueError(msg)
    return places


def _with_new_minimum(
    start: Start, result: MinosResult, status: Any, x: Any
) -> MinosResult:
    """Refit from a deeper point, if one was met, and say so."""
    if is_traced(status):
        return result
    deeper = np.asarray(status == CROSSING.new_minimum)
    if not deeper.any():
        return result
    first = int(np.argmax(deeper))
    fits = [
        start.problem.at(start.states(x[i])).fit(throw=False)
        for i in np.nonzero(deeper)[0]
    ]
    best = min(fits, key=lambda fit: float(fit.nll) if bool(fit.success) else np.inf)
    name = result.names[first % len(result.names)]
    warnings.warn(
        f"minos: on the way from {name!r} -ln L fell below its minimum, "
        f"{float(start.minimum.nll):.10g}, to {float(best.nll):.10g}. The new minimum "
        "is in `result.minimum`: call minos again with it as `params`.",
        stacklevel=3,
    )
    return eqx.tree_at(lambda r: r.minimum, result, best)
