"""Numbers of transforms, bounds and constraints as array leaves."""

# pyright: reportUnknownMemberType=false
# (the signatures of jax.numpy are not fully known to it)

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from everwillow._errors import ArgumentTypeError, ArgumentValueError, ShapeMismatchError
from everwillow._typing import Array, ArrayLike


class AbstractBox(eqx.Module):
    """A bound whose parameter keeps its physical units.

    Maps to the real line ignore such bounds; the solver honours them.
    """

    whole_in_states: ClassVar[bool] = True

    lower: eqx.AbstractVar[ArrayLike]
    upper: eqx.AbstractVar[ArrayLike]


def is_concrete(*values: Any) -> bool:
    """Return whether numbers are known: neither traced nor abstract."""
    return not any(isinstance(value, Tracer | jax.ShapeDtypeStruct) for value in values)


def number_leaf(value: Any, name: str) -> Any:
    """Return `value` as a read-only float array on the host; traced values are kept.

    Numbers are arrays so that other numbers use the same compiled program, and they are
    copied so that they cannot be changed from outside. A single number becomes a NumPy
    scalar, which unlike an array has a hash, as ``jax.jit(transform.wrap)`` needs.

    Args:
        value: A number or an array of numbers.
        name: Its name, for the error message.

    Raises:
        ArgumentTypeError: If `value` is not made of real numbers.
    """
    if not is_concrete(value):
        return value
    try:
        array = np.asarray(value)
        numeric = jnp.issubdtype(array.dtype, np.number) or array.dtype == bool
        if not numeric or jnp.issubdtype(array.dtype, np.complexfloating):
            raise TypeError
        array = np.array(array, dtype=float)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name} must be a real number or an array of them, got {value!r} of type "
            f"{type(value).__name__}."
        ) from None
    array.setflags(write=False)
    return array[()]


def finite_leaf(value: Any, name: str, *, above: float | None = None) -> Any:
    """Return `value` as a leaf, checked where the numbers are known.

    Args:
        value: A number or an array of numbers.
        name: Its name, for the error messages.
        above: Exclusive lower limit of all numbers, if any.

    Raises:
        ArgumentValueError: If a number is not finite or not greater than `above`.
    """
    leaf = number_leaf(value, name)
    if not is_concrete(leaf):
        return leaf
    if not np.all(np.isfinite(leaf)):
        raise ArgumentValueError(f"{name} must be finite, got {show(leaf)}.")
    if above is not None and not np.all(leaf > above):
        raise ArgumentValueError(
            f"{name} must be greater than {above:g}, got {show(leaf)}."
        )
    return leaf


def range_leaves(
    lower: Any, upper: Any, *, where: str, finite: bool
) -> tuple[Any, Any]:
    """Return both ends of a range as leaves, checked where the numbers are known.

    Args:
        lower: Lower end.
        upper: Upper end.
        where: The object with the range, for the error messages.
        finite: Whether both ends, and their distance, must be finite.

    Raises:
        ArgumentValueError: If not ``lower < upper`` everywhere, or not finite.
        ShapeMismatchError: If the shapes of the ends do not combine.
    """
    low = number_leaf(lower, f"{where}: lower")
    high = number_leaf(upper, f"{where}: upper")
    if not is_concrete(low, high):
        return low, high
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            gap = high - low
    except ValueError:
        raise ShapeMismatchError(
            f"{where}: lower has shape {low.shape} and upper has shape {high.shape}; "
            "they must combine."
        ) from None
    if not np.all(gap > 0) or (finite and not np.all(np.isfinite(gap))):
        rule = "finite bounds with lower < upper" if finite else "lower < upper, no NaN"
        message = (
            f"{where}: needs {rule}, got lower = {show(low)} and upper = {show(high)}."
        )
        if np.all(low == high):
            message += " To hold a parameter at one value, fix it."
        raise ArgumentValueError(message)
    return low, high


def real(value: ArrayLike) -> Array:
    """Return `value` as a floating-point array that keeps its own precision."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def like(number: ArrayLike, value: Array, name: str) -> Array:
    """Return `number` with the dtype of `value` and a shape that combines with it.

    Raises:
        ShapeMismatchError: If `number` cannot be broadcast to the shape of `value`.
    """
    array = jnp.asarray(number, dtype=value.dtype)
    if array.shape in ((), value.shape):
        return array
    try:
        return jnp.broadcast_to(array, value.shape)
    except ValueError:
        raise ShapeMismatchError(
            f"{name} has shape {array.shape}, which does not fit a parameter of shape "
            f"{value.shape}: give one number, or one for each element."
        ) from None


def show(value: Any) -> str:
    """Return a number or a short array as text for messages."""
    if not is_concrete(value):
        return "(traced)"
    array = np.asarray(value)
    if array.ndim == 0:
        return str(array.item())
    return np.array2string(array, threshold=10, separator=", ")
