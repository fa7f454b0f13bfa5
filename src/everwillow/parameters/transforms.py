r"""Smooth maps between a bounded parameter and the whole real line.

The method `unwrap` of a map takes a physical value to the real line, for solvers
without bounds; `wrap` is its inverse. Every map here increases with its argument and is
twice differentiable on the whole line. A minimum *at* a bound is at infinity on the
real line (or, for `MinuitTransform`, at a point of vanishing derivative): where that
can happen use an `Interval`, which the solver honours exactly.

Numbers are array leaves. Transforms of one kind can be stacked leaf by leaf and applied
with `jax.vmap`, and other numbers need no other compilation.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (the signatures of jax and equinox are not fully known to it)

import abc
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from everwillow._errors import ArgumentValueError
from everwillow._typing import Array, ArrayLike
from everwillow.parameters.base import (
    finite_leaf,
    is_concrete,
    like,
    range_leaves,
    real,
    show,
)


class TransformBase(eqx.Module):
    """A smooth, increasing map of an open interval onto the real line.

    To write a new one, store numbers as array fields and implement `_range`, `_wrap`
    and `_unwrap` with `jax.numpy`; the checks and public methods come from here.
    """

    whole_in_states: ClassVar[bool] = True

    def unwrap(
        self, value: ArrayLike, *, where: str | None = None
    ) -> Float[Array, "..."]:
        """Map a physical value to the real line.

        Args:
            value: Number or array strictly inside the range.
            where: The name of the value in error messages; by default the transform.

        Raises:
            ArgumentValueError: If any element is on or outside the range, or not
                finite. In traced code the error comes when the compiled code runs, as
                that of `equinox.error_if`.
        """
        where = where or type(self).__name__
        array = real(value)
        inside = self.in_range(array)
        if not is_concrete(inside):
            # The numbers are not known here; the message can only state the rule.
            message = f"{where}: unwrap needs values strictly inside the range."
            checked = eqx.error_if(array, ~inside, message)
            return self._unwrap(checked)
        if not np.all(inside):
            lower, upper = self._range()
            raise ArgumentValueError(
                f"{where}: the value {show(array)} is not strictly inside the range "
                f"({show(lower)}, {show(upper)}) of {type(self).__name__}. Start "
                "from a value inside, or use an Interval, which includes its ends."
            )
        return self._unwrap(array)

    def wrap(self, value: ArrayLike) -> Float[Array, "..."]:
        """Map a number on the real line to its physical value.

        Far from zero the result rounds to the bound itself; it is never beyond it.
        """
        return self._wrap(real(value))

    def in_range(self, value: ArrayLike) -> Bool[Array, "..."]:
        """Return, element by element, whether `unwrap` accepts the value."""
        value = real(value)
        lower, upper = self._range()
        name = type(self).__name__
        above = value > like(lower, value, f"{name}: the lower end")
        return above & (value < like(upper, value, f"{name}: the upper end"))

    @abc.abstractmethod
    def _range(self) -> tuple[ArrayLike, ArrayLike]:
        """Return the lower and upper ends of the open interval."""

    @abc.abstractmethod
    def _unwrap(self, value: Array) -> Array:
        """Map physical values, known to be inside, to the real line."""

    @abc.abstractmethod
    def _wrap(self, value: Array) -> Array:
        """Map real numbers to physical values."""


class _AbstractTwoEnds(TransformBase):
    """A map of an interval with two finite ends."""

    lower: ArrayLike
    upper: ArrayLike

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        self.lower, self.upper = range_leaves(
            lower, upper, where=type(self).__name__, finite=True
        )

    def _range(self) -> tuple[ArrayLike, ArrayLike]:
        return self.lower, self.upper

    def _ends(self, value: Array) -> tuple[Array, Array]:
        """Return the ends with the dtype of a value, checked against its shape."""
        name = type(self).__name__
        lower = like(self.lower, value, f"{name}: lower")
        return lower, like(self.upper, value, f"{name}: upper")


class MinuitTransform(_AbstractTwoEnds):
    r"""The sine map of Minuit for a parameter with two bounds.

    .. math:: x = a + \frac{b - a}{2} (\sin t + 1), \qquad
        t = \arcsin\left(2 \frac{x - a}{b - a} - 1\right)

    `wrap` is periodic with period :math:`2\pi` and its derivative vanishes at both
    bounds, where a vanishing gradient does not mean that the likelihood has no slope;
    `unwrap` returns :math:`t` between :math:`-\pi/2` and :math:`\pi/2`.

    Args:
        lower: Lower bound :math:`a`, finite; a number or an array.
        upper: Upper bound :math:`b`, finite and greater than `lower`.

    Raises:
        ArgumentValueError: If the bounds are not finite or not ordered.

    Example:
        >>> transform = MinuitTransform(0.0, 4.0)
        >>> print(f"{transform.wrap(0.0):.6f}")
        2.000000

    References:
        F. James, MINUIT Reference Manual (CERN D506), section 1.2.1.
    """

    def _unwrap(self, value: Array) -> Array:
        # This form is accurate near a bound, where the arcsine loses half of the
        # digits.
        lower, upper = self._ends(value)
        angle = jnp.arctan2(jnp.sqrt(value - lower), jnp.sqrt(upper - value))
        return 2.0 * angle - 0.5 * jnp.pi

    def _wrap(self, value: Array) -> Array:
        lower, upper = self._ends(value)
        half = 0.5 * value + 0.25 * jnp.pi
        return _between(lower, upper, jnp.sin(half) ** 2, jnp.cos(half) ** 2)


class SigmoidTransform(_AbstractTwoEnds):
    r"""The logistic map for a parameter with two bounds.

    .. math:: x = a + \frac{b - a}{1 + e^{-t}}, \qquad t = \ln\frac{x - a}{b - x}

    Args:
        lower: Lower bound :math:`a`, finite; a number or an array.
        upper: Upper bound :math:`b`, finite and greater than `lower`.

    Raises:
        ArgumentValueError: If the bounds are not finite or not ordered.

    Example:
        >>> print(SigmoidTransform(-1.0, 1.0).unwrap(0.0))
        0.0
    """

    def _unwrap(self, value: Array) -> Array:
        lower, upper = self._ends(value)
        return jnp.log(value - lower) - jnp.log(upper - value)

    def _wrap(self, value: Array) -> Array:
        lower, upper = self._ends(value)
        return _between(lower, upper, jax.nn.sigmoid(value), jax.nn.sigmoid(-value))


class OneSidedLogTransform(TransformBase):
    r"""The logarithm for a parameter with one bound.

    .. math:: t = \ln(x - b) \text{ (lower)}, \qquad t = -\ln(b - x) \text{ (upper)}

    For distances from the bound beyond 1e154 in double precision, the exponential
    continues as its Taylor polynomial of second order, in both directions of the map,
    so that `wrap` neither overflows nor loses its derivatives.

    Args:
        bound: The bound :math:`b`, finite; a number or an array.
        direction: Which side of the parameter is bounded.

    Raises:
        ArgumentValueError: If the bound is not finite or the direction unknown.

    Example:
        >>> print(OneSidedLogTransform(2.0).unwrap(3.0))
        0.0
    """

    bound: ArrayLike
    direction: Literal["lower", "upper"] = eqx.field(static=True)

    def __init__(
        self, bound: ArrayLike, direction: Literal["lower", "upper"] = "lower"
    ) -> None:
        if direction not in ("lower", "upper"):
            raise ArgumentValueError(
                "OneSidedLogTransform: direction must be 'lower' or 'upper' (the side "
                f"that is bounded), got {direction!r}."
            )
        self.bound = finite_leaf(bound, "OneSidedLogTransform: bound")
        self.direction = direction

    def _range(self) -> tuple[ArrayLike, ArrayLike]:
        if self.direction == "lower":
            return self.bound, np.asarray(np.inf)
        return np.asarray(-np.inf), self.bound

    def _unwrap(self, value: Array) -> Array:
        bound = like(self.bound, value, "OneSidedLogTransform: bound")
        if self.direction == "lower":
            return _log(value - bound)
        return -_log(bound - value)

    def _wrap(self, value: Array) -> Array:
        bound = like(self.bound, value, "OneSidedLogTransform: bound")
        if self.direction == "lower":
            return bound + _exp(value)
        return bound - _exp(-value)


class SoftPlusTransform(TransformBase):
    r"""The soft plus for a positive parameter: almost the identity for large values.

    .. math:: x = \ln(1 + e^t), \qquad t = x + \ln(1 - e^{-x})

    Example:
        >>> print(SoftPlusTransform().unwrap(800.0))
        800.0
    """

    def _range(self) -> tuple[ArrayLike, ArrayLike]:
        return np.asarray(0.0), np.asarray(np.inf)

    def _unwrap(self, value: Array) -> Array:
        return value + jnp.log(-jnp.expm1(-value))

    def _wrap(self, value: Array) -> Array:
        return jax.nn.softplus(value)


def _between(lower: Array, upper: Array, share: Array, rest: Array) -> Array:
    """Return ``lower + (upper - lower) * share``, where ``rest = 1 - share``.

    Computed from the nearer end, so that rounding neither exceeds a bound nor loses the
    digits of a small distance from it.
    """
    gap = upper - lower
    return jnp.where(share < rest, lower + gap * share, upper - gap * rest)


def _knee(dtype: Any) -> float:
    """Return the point at which the Taylor polynomial replaces the exponential."""
    return 0.5 * float(np.log(float(jnp.finfo(dtype).max)))


def _exp(value: Array) -> Array:
    knee = _knee(value.dtype)
    core = jnp.minimum(value, knee)
    excess = value - core
    return jnp.exp(core) * (1.0 + excess * (1.0 + 0.5 * excess))


def _log(value: Array) -> Array:
    """Return the inverse of `_exp`."""
    knee = _knee(value.dtype)
    ratio = jnp.maximum(value * float(np.exp(-knee)), 1.0)
    core = jnp.minimum(value, float(np.exp(knee)))
    return jnp.log(core) + (jnp.sqrt(2.0 * ratio - 1.0) - 1.0)
