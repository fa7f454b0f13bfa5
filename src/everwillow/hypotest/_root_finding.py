"""Roots of functions of one variable between two ends, on the host or traced.

Chandrupatla's method (Advances in Engineering Software 28, 1997, 145): inverse
quadratic interpolation where the last three points allow it, bisection elsewhere. It
never leaves the bracket and needs about ten evaluations for ten digits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from everwillow._mesh_axes import as_varying, mesh_axes


def bisect(is_above: Callable[[Any], Any], low: Any, high: Any, *, count: int) -> Any:
    """Return the root of a traceable function after a number of bisections.

    Args:
        is_above: Whether a value is above the root.
        low: Lower end.
        high: Upper end.
        count: Number of bisections; each halves the error.
    """

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = 0.5 * (low + high)
        above = is_above(middle)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, count, halve, (low, high))
    return 0.5 * (low + high)


class Bracket(NamedTuple):
    """Two points on either side of a root, and the position of the next point.

    Attributes:
        near: The newest point.
        at_near: The function value at `near`.
        far: The point on the other side.
        at_far: The function value at `far`.
        fraction: The next point to try, as a fraction of the way from near to far.
        done: Whether the distance of the two is as small as required.
    """

    near: Any
    at_near: Any
    far: Any
    at_far: Any
    fraction: Any
    done: Any

    @property
    def trial(self) -> Any:
        """The next point to try."""
        return self.near + self.fraction * (self.far - self.near)

    def best(self, xp: Any) -> Any:
        """Return the end with the smaller function value."""
        closer = abs(self.at_near) <= abs(self.at_far)
        return xp.where(closer, self.near, self.far)


def narrow(xp: Any, ends: Bracket, value: Any, rtol: float, atol: float):
    """Return the smaller bracket that follows from the value at the trial point.

    Args:
        xp: NumPy or `jax.numpy`.
        ends: The bracket.
        value: The function at ``ends.trial``.
        rtol: Relative accuracy of the root.
        atol: Absolute accuracy of the root.
    """
    where, x1, f1 = xp.where, ends.trial, value
    same = (f1 > 0) == (ends.at_near > 0)
    x2, f2 = where(same, ends.far, ends.near), where(same, ends.at_far, ends.at_near)
    x3, f3 = where(same, ends.near, ends.far), where(same, ends.at_near, ends.at_far)
    goal = atol + rtol * xp.minimum(abs(x1), abs(x2))
    least = 0.5 * goal / abs(x2 - x1)
    # Whether an inverse quadratic through the three points is monotonic.
    xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
    t = f1 / (f2 - f1) * f3 / (f2 - f3)
    t = t + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
    t = where(smooth & xp.isfinite(t), t, 0.5)
    done = (least >= 0.5) | (f1 == 0) | xp.isnan(f1)
    return Bracket(x1, f1, x2, f2, xp.clip(t, least, 1 - least), done)


def host_root(
    function: Callable[[float], float],
    low: tuple[float, float],
    high: tuple[float, float],
    *,
    rtol: float,
    atol: float,
    max_steps: int,
) -> float:
    """Return the root of a function that is evaluated on the host.

    Args:
        function: A function of one number.
        low: The lower end, and the function value there.
        high: The upper end, and the function value there, with the other sign.
        rtol: Relative accuracy.
        atol: Absolute accuracy.
        max_steps: Largest number of evaluations.

    Returns:
        The root; NaN if the function is NaN, or after `max_steps` evaluations.
    """
    for point, value in (low, high):
        if value == 0:
            return float(point)
    ends = Bracket(*map(np.float64, (*high, *low, 0.5)), done=False)
    with np.errstate(all="ignore"):
        for _ in range(max_steps):
            value = np.float64(function(float(ends.trial)))
            ends = narrow(np, ends, value, rtol, atol)
            if ends.done:
                best = float(ends.best(np))
                return float("nan") if np.isnan(ends.at_near) else best
    return float("nan")


def traced_root(
    function: Callable[[Any], Any],
    low: Any,
    high: Any,
    *,
    rtol: float,
    atol: float,
    max_steps: int,
) -> Any:
    """Return the root of a traceable function, differentiable in what it closes over.

    The derivative is that of the implicit function theorem.

    Args:
        function: A function of one number.
        low: Lower end.
        high: Upper end.
        rtol: Relative accuracy.
        atol: Absolute accuracy.
        max_steps: Largest number of evaluations.

    Returns:
        The root; NaN if it is not between the ends.
    """
    dtype = jnp.result_type(float)
    low, high = (jax.lax.stop_gradient(jnp.asarray(v, dtype)) for v in (low, high))
    # The variables that the function closes over become arguments.
    closed, captured = jax.closure_convert(lambda x: jnp.asarray(function(x)), low)
    constant = jax.lax.stop_gradient(captured)

    def still(x):
        return closed(x, *constant)

    at_low, at_high = still(low), still(high)
    ends = (low, high, at_low, at_high)
    if any(mesh_axes(end) != mesh_axes(ends) for end in ends[:2]):
        # The carry of a loop has to vary over the same axes of a mesh from the start.
        low, high = as_varying((low, high), ends)
        return traced_root(
            function, low, high, rtol=rtol, atol=atol, max_steps=max_steps
        )

    def going(carry):
        count, ends = carry
        return (count < max_steps) & ~ends.done

    def advance(carry):
        count, ends = carry
        return count + 1, narrow(jnp, ends, still(ends.trial), rtol, atol)

    bracketed = (at_low > 0) != (at_high > 0)
    bracketed = bracketed & jnp.isfinite(at_low) & jnp.isfinite(at_high)
    half = jnp.asarray(0.5, dtype)
    ends = Bracket(high, at_high, low, at_low, half, ~bracketed)
    start = as_varying((jnp.asarray(0), ends), ends)
    count, ends = jax.lax.while_loop(going, advance, start)
    converged = bracketed & ends.done & ~jnp.isnan(ends.at_near)
    root = jax.lax.stop_gradient(ends.best(jnp))
    slope = jax.lax.stop_gradient(jax.jvp(still, (root,), (jnp.ones_like(root),))[1])
    value = closed(root, *captured)
    # The value itself stays out: only its derivative is wanted.
    change = (value - jax.lax.stop_gradient(value)) / slope
    del count
    return jnp.where(converged, root - change, jnp.nan)
