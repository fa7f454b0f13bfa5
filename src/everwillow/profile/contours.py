"""Contours of the profile likelihood in two parameters, followed along the curve."""

from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from everwillow._errors import ArgumentValueError
from everwillow._numerics import select
from everwillow._typing import Key
from everwillow.fitting import FitResult, _execute
from everwillow.fitting._core import Task
from everwillow.fitting._layout import is_traced
from everwillow.fitting._outcome import scaled_solver
from everwillow.fitting._problem import Numbers
from everwillow.fitting.follow import Foothold
from everwillow.fitting.result import Values
from everwillow.fitting.run import Unset
from everwillow.profile._start import confidence, stage
from everwillow.profile._walk import step_to
from everwillow.profile.scans import on_host, pair
from everwillow.statelib import State


# The rise of -ln L on the curve is that of the level to this part of it.
TOLERANCE = 1e-7
MOST_CORRECTIONS = 8
# A correction of more than this part of the step asks for a smaller one.
LARGEST_CORRECTION = 0.4
SMALLEST_STEP = 1e-3
# A curve may take as many times the points of an ellipse; longer ones are left open.
LONGEST = 4
# Cosine of the angle between two normals.
STRAIGHT = 0.999
DIRECTIONS = 8
FEWEST_POINTS = 8


class ContourResult(eqx.Module):
    """A curve of constant profile likelihood.

    Attributes:
        names: The two parameters.
        cl: The confidence level of the region inside, for two parameters.
        points: The curve, in order, shape ``(m, 2)``; where it is closed the last
            point is the first one. In compiled code rows beyond its end are NaN.
        params: All parameters on it, entries of shape ``(m, ...)``.
        closed: Whether the curve is closed. If not it ends at bounds, or where a fit
            failed, or was too long.
        minimum: The free fit.
        held: The parameters that were held at their best fit.
    """

    names: tuple[str, str] = eqx.field(static=True)
    cl: float = eqx.field(static=True)
    points: Float[Values, "m 2"]
    params: State
    closed: Bool[Values, ""]
    minimum: FitResult
    held: tuple[str, ...] = eqx.field(static=True)

    def __repr__(self) -> str:
        """Return a line that tells what it is."""
        if is_traced(self):
            return f"ContourResult({self.names[0]}, {self.names[1]}; traced)"
        kind = "closed" if bool(self.closed) else "open"
        return (
            f"ContourResult({self.names[0]}, {self.names[1]}; {100 * self.cl:.4g} %, "
            f"{len(self.points)} points, {kind})"
        )


class _Curve(eqx.Module):
    """Where the tracing stands, in units in which the curve is nearly a circle."""

    at: Foothold
    u: Float[Array, " 2"]
    normal: Float[Array, " 2"]
    step: Float[Array, ""]
    length: Float[Array, ""]
    points: Float[Array, "m 2"]
    params: Float[Array, "m n"]
    count: Any
    going: Any
    closed: Any


class _Plane(eqx.Module):
    """The two parameters, in units of the level curve of the quadratic model."""

    task: Task
    numbers: Numbers
    base: Foothold
    held: Array
    places: Array
    root: Float[Array, "2 2"]
    rise: Float[Array, ""]

    def values(self, u: Array) -> Array:
        """Return the parameters at a point of the plane."""
        return self.base.x[self.places] + self.root @ u

    def inside(self, u: Array) -> Array:
        """Return whether a point is within the bounds."""
        if self.numbers.lower is None:
            return jnp.all(jnp.isfinite(u))
        value = self.values(u)
        lower = jnp.asarray(self.numbers.lower)[self.places]
        upper = jnp.asarray(self.numbers.upper)[self.places]
        return jnp.all((value >= lower) & (value <= upper))

    def visit(self, last: Foothold, u: Array) -> tuple[Foothold, Array, Array]:
        """Return the fit at a point, the height above the level, and its gradient."""
        x = last.x.at[self.places].set(self.values(u))
        at = step_to(self.task, self.numbers, last, self.held, x)
        height = (at.value - self.base.value) / self.rise - 1
        return at, height, self.root.T @ at.gradient[self.places] / self.rise

    def corrected(self, last: Foothold, u: Array, reach: Array):
        """Move a point onto the curve, along the gradient.

        Returns:
            The fit, the point, the gradient there, and whether it is on the curve.
        """

        def going(s):
            _, _, _, height, count, good = s
            return good & (jnp.abs(height) > TOLERANCE) & (count < MOST_CORRECTIONS)

        def advance(s):
            at, v, gradient, height, count, _ = s
            v = v - height * gradient / jnp.vdot(gradient, gradient)
            near = (jnp.linalg.norm(v - u) <= reach) & self.inside(v)
            v = jnp.where(near, v, u)
            end, height, gradient = self.visit(at, v)
            good = near & end.success
            return select(good, end, at), v, gradient, height, count + 1, good

        at, height, gradient = self.visit(last, u)
        start = (at, u, gradient, height, jnp.asarray(0), at.success & self.inside(u))
        at, v, gradient, height, _, good = jax.lax.while_loop(going, advance, start)
        return at, v, gradient, good & (jnp.abs(height) <= TOLERANCE)


def trace(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    places: Array,
    rise: Array,
    blank: Array,
) -> tuple[Array, Array, Array, Array]:
    """Follow the curve in both senses; in the other one only where it does not close.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum.
        held: What else is held there, shape ``(n,)``.
        places: The positions of the two parameters, shape ``(2,)``.
        rise: Of -ln L on the curve.
        blank: Its length says how many points there may be on each way.

    Returns:
        Points ``(2, m, 2)``, all parameters ``(2, m, n)`` and counts of both ways, and
        whether the first one closed.
    """
    held = jnp.asarray(held)
    free = jnp.asarray(numbers.mask) & ~held & ~base.at_bound
    free = free.at[places].set(True)
    solve, _ = scaled_solver(base.hessian, free)
    unit = jnp.zeros((2, base.x.size), base.x.dtype)
    columns = jax.vmap(solve)(unit.at[jnp.arange(2), places].set(1))
    root = jnp.linalg.cholesky(columns[:, places]) * jnp.sqrt(2 * rise)
    plane = _Plane(task, numbers, base, held.at[places].set(True), places, root, rise)
    at, u, normal, found = _beginning(plane)
    size = blank.shape[0]
    step = jnp.asarray(2 * jnp.pi * LONGEST / size, base.x.dtype)

    def way(closed, sense):
        start = _Curve(
            at=at,
            u=u,
            normal=normal,
            step=step,
            length=jnp.zeros_like(rise),
            points=jnp.full((size, 2), jnp.nan).at[0].set(plane.values(u)),
            params=jnp.full((size, base.x.size), jnp.nan).at[0].set(at.x),
            count=jnp.asarray(1),
            going=found & ~closed,
            closed=jnp.asarray(False),
        )
        end = jax.lax.while_loop(
            lambda c: c.going, lambda c: _advance(plane, c, u, step, sense), start
        )
        count = jnp.where(found & ~closed, end.count, 0)
        return closed | end.closed, (end.points, end.params, count)

    closed, (points, params, counts) = jax.lax.scan(
        way, jnp.asarray(False), jnp.asarray([1.0, -1.0], base.x.dtype)
    )
    return points, params, counts, closed


def _beginning(plane: _Plane):
    """Return a first point on the curve, in the first direction that has one."""
    angles = jnp.linspace(0, 2 * jnp.pi, DIRECTIONS, endpoint=False)

    def going(s):
        number, _, _, _, found = s
        return ~found & (number < DIRECTIONS)

    def advance(s):
        number = s[0]
        u = jnp.stack([jnp.cos(angles[number]), jnp.sin(angles[number])])
        at, u, normal, found = plane.corrected(plane.base, u, jnp.asarray(2.0))
        return number + 1, at, u, normal, found

    zero = jnp.zeros(2, plane.base.x.dtype)
    start = (jnp.asarray(0), plane.base, zero, zero, jnp.asarray(False))
    start = jax.tree.map(jnp.asarray, start)
    _, at, u, normal, found = jax.lax.while_loop(going, advance, start)
    return at, u, normal, found


def _advance(plane: _Plane, c: _Curve, first: Array, longest: Array, sense) -> _Curve:
    """Take one step along the curve, or make the step smaller."""
    normal = c.normal / jnp.linalg.norm(c.normal)
    tangent = sense * jnp.stack([-normal[1], normal[0]])
    # Once it is as far as a step from where it began the way back counts.
    to_first = first - c.u
    close = (
        (c.length > 2 * longest)
        & (jnp.linalg.norm(to_first) <= 1.5 * c.step)
        & (jnp.vdot(to_first, tangent) > 0)
    )
    guess = c.u + c.step * tangent
    at, u, gradient, good = plane.corrected(c.at, guess, LARGEST_CORRECTION * c.step)
    ahead = gradient / jnp.linalg.norm(gradient)
    # A turn of more than half a radian is too sharp for the step.
    good = good & (jnp.vdot(ahead, normal) > 0.88) & ~close
    full = c.count >= c.points.shape[0] - 1
    over = close | full | (~good & (c.step < SMALLEST_STEP * longest))
    # Where the curve is straight larger steps do.
    straight = jnp.vdot(ahead, normal) > STRAIGHT
    wider = jnp.minimum(1.5 * c.step, jnp.where(straight, LONGEST * longest, longest))
    row = jnp.where(close, plane.values(first), plane.values(u))
    x = jnp.where(close, c.params[0], at.x)
    more = good | close
    return _Curve(
        at=select(good, at, c.at),
        u=jnp.where(good, u, c.u),
        normal=jnp.where(good, gradient, c.normal),
        step=jnp.where(good, wider, 0.5 * c.step),
        length=c.length + jnp.where(good, c.step, 0),
        points=jnp.where(more, c.points.at[c.count].set(row), c.points),
        params=jnp.where(more, c.params.at[c.count].set(x), c.params),
        count=c.count + more,
        going=~over,
        closed=close,
    )


def contour(
    nll_fn: Any,
    params: State | FitResult | None = None,
    observation: Any = Unset,
    *,
    names: tuple[Key, Key],
    cl: float = 0.6827,
    points: int = 60,
    held: Iterable[str] = (),
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
) -> ContourResult:
    r"""Trace a curve of constant profile likelihood in two parameters.

    On it -ln L, minimised over all other parameters, has risen by
    :math:`-\ln(1 - \mathrm{cl})`: half the χ² quantile for two degrees of freedom, so
    that the region inside has the confidence level for both parameters together. (The
    curve at a rise of ½, whose extremes are the one-dimensional errors, has
    ``cl=0.3935``.) Every point is a conditional fit: from a point on the curve a step
    is taken along its tangent, and corrected along the gradient of the profile.

    Args:
        nll_fn: -ln L, or a Model, as in `fit`; likewise what is not listed here.
        params: Start values; or the end of the free fit, which is then not repeated.
        observation: Data.
        names: The two parameters.
        cl: Confidence level, between 0 and 1.
        points: Number of points on an ellipse; curves that turn sharply take more.
        held: Names or patterns of parameters to hold at their best fit.
        fixed: As in `fit`; these are not fitted at all.
        bounds: As in `fit`.
        solver: As in `fit`.
        max_steps: As in `fit`.

    Returns:
        The curve, open where it meets bounds.

    Raises:
        UnknownKeyError: If a name is that of no parameter.
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
        msg = f"points: expected {FEWEST_POINTS} points or more, got {points!r}."
        raise ArgumentValueError(msg)
    posed = stage(
        nll_fn,
        params,
        observation,
        held=held,
        fixed=fixed,
        bounds=bounds,
        solver=solver,
        max_steps=max_steps,
    )
    places = np.array(pair(posed, names))
    start = posed.minimised()
    problem = start.problem
    curve, x, counts, closed = on_host(
        _execute.call(
            trace,
            problem.task,
            problem.numbers,
            start.base,
            start.held,
            places,
            -jnp.log1p(-jnp.asarray(cl, float)),
            np.zeros(LONGEST * points),
        )
    )
    if is_traced(counts):
        both = jnp.concatenate([curve[1, ::-1], curve[0]])
        all_x = jnp.concatenate([x[1, ::-1], x[0]])
    else:
        # Backwards along the second way, whose first point is that of the first.
        one, two = (slice(int(count)) for count in counts)
        both = np.concatenate([curve[1, two][:0:-1], curve[0, one]])
        all_x = np.concatenate([x[1, two][:0:-1], x[0, one]])
    return ContourResult(
        names=(problem.labels[places[0]], problem.labels[places[1]]),
        cl=cl,
        points=both,
        params=start.states(all_x),
        closed=closed,
        minimum=start.minimum,
        held=start.held_names,
    )
